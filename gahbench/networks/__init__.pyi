from .initialisation import build_network as build_network
from .layers import feature_layers as feature_layers
from .layers import layer_output as layer_output
from .layers import middle_layer as middle_layer
from .trained import Trained as Trained
