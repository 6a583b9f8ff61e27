from .initialisation import build_network as build_network
from .trained import Trained as Trained
