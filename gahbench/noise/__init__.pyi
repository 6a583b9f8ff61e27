from .estimation import NoiseEstimate as NoiseEstimate
from .estimation import estimate_from_image as estimate_from_image
from .estimation import estimate_from_pairs as estimate_from_pairs
from .poisson_gaussian import PoissonGaussian as PoissonGaussian
from .stabilisation import Stabilisation as Stabilisation
from .whiteness import NoiseExamination as NoiseExamination
from .whiteness import examine_noise as examine_noise
