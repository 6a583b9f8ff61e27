"""CPUs and GPUs: capabilities of each kind of device, and recovery when memory runs out."""
