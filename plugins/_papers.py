"""Citations of the publications that the built-in plugins implement."""

from __future__ import annotations

from gahbench import Citation

_TIP = "IEEE Transactions on Image Processing"
_TPAMI = "IEEE Transactions on Pattern Analysis and Machine Intelligence"
_TMLR = "Transactions on Machine Learning Research"
_VAN_GOOL = "Van Gool, Luc and Timofte, Radu"

AHMED_1974 = Citation(
    "Ahmed, Nasir and Natarajan, T. and Rao, K. R.",
    "Discrete cosine transform",
    1974,
    journal="IEEE Transactions on Computers",
    doi="10.1109/T-C.1974.223784",
)
BATSON_2019 = Citation(
    "Batson, Joshua and Royer, Loic",
    "Noise2Self: blind denoising by self-supervision",
    2019,
    conference="ICML",
    arxiv="1901.11365",
)
BIROLI_2024 = Citation(
    "Biroli, Giulio and Bonnaire, Tony and de Bortoli, Valentin and Mézard, Marc",
    "Dynamical regimes of diffusion models",
    2024,
    journal="Nature Communications",
    arxiv="2402.18491",
)
BONNAIRE_2025 = Citation(
    "Bonnaire, Tony and Urfin, Raphaël and Biroli, Giulio and Mézard, Marc",
    "Why diffusion models don't memorize: the role of implicit dynamical regularization in training",
    2025,
    conference="NeurIPS",
    arxiv="2505.17638",
)
BUADES_2005 = Citation(
    "Buades, Antoni and Coll, Bartomeu and Morel, Jean-Michel",
    "A non-local algorithm for image denoising",
    2005,
    conference="CVPR",
    doi="10.1109/CVPR.2005.38",
)
BURGER_2012 = Citation(
    "Burger, Harold C. and Schuler, Christian J. and Harmeling, Stefan",
    "Image denoising: can plain neural networks compete with BM3D?",
    2012,
    conference="CVPR",
)
CHANG_2000 = Citation(
    "Chang, S. Grace and Yu, Bin and Vetterli, Martin",
    "Adaptive wavelet thresholding for image denoising and compression",
    2000,
    journal=_TIP,
    doi="10.1109/83.862633",
)
CHEN_2022 = Citation(
    "Chen, Liangyu and Chu, Xiaojie and Zhang, Xiangyu and Sun, Jian",
    "Simple baselines for image restoration",
    2022,
    conference="ECCV",
    arxiv="2204.04676",
)
COIFMAN_1992 = Citation(
    "Coifman, Ronald R. and Wickerhauser, M. Victor",
    "Entropy-based algorithms for best basis selection",
    1992,
    journal="IEEE Transactions on Information Theory",
    doi="10.1109/18.119732",
)
COIFMAN_1995 = Citation(
    "Coifman, Ronald R. and Donoho, David L.",
    "Translation-invariant de-noising",
    1995,
    conference="Wavelets and Statistics",
    doi="10.1007/978-1-4612-2544-7_9",
)
DABOV_2007 = Citation(
    "Dabov, Kostadin and Foi, Alessandro and Katkovnik, Vladimir and Egiazarian, Karen",
    "Image denoising by sparse 3-D transform-domain collaborative filtering",
    2007,
    journal=_TIP,
    doi="10.1109/TIP.2007.901238",
)
DONOHO_1994 = Citation(
    "Donoho, David L. and Johnstone, Iain M.",
    "Ideal spatial adaptation by wavelet shrinkage",
    1994,
    journal="Biometrika",
    doi="10.1093/biomet/81.3.425",
)
DONOHO_1995 = Citation(
    "Donoho, David L. and Johnstone, Iain M.",
    "Adapting to unknown smoothness via wavelet shrinkage",
    1995,
    journal="Journal of the American Statistical Association",
    doi="10.1080/01621459.1995.10476626",
)
DOSOVITSKIY_2021 = Citation(
    "Dosovitskiy, Alexey and others",
    "An image is worth 16x16 words: transformers for image recognition at scale",
    2021,
    conference="ICLR",
    arxiv="2010.11929",
)
DOSSAL_2011 = Citation(
    "Dossal, Charles and Le Pennec, Erwan and Mallat, Stéphane",
    "Bandlet image estimation with model selection",
    2011,
    journal="Signal Processing",
)
FRIEDMAN_2023 = Citation(
    "Friedman, Dan and Dieng, Adji Bousso",
    "The Vendi score: a diversity evaluation metric for machine learning",
    2023,
    journal=_TMLR,
    arxiv="2210.02410",
)
HE_2013 = Citation(
    "He, Kaiming and Sun, Jian and Tang, Xiaoou",
    "Guided image filtering",
    2013,
    journal=_TPAMI,
    doi="10.1109/TPAMI.2012.213",
)
HO_2020 = Citation(
    "Ho, Jonathan and Jain, Ajay and Abbeel, Pieter",
    "Denoising diffusion probabilistic models",
    2020,
    conference="NeurIPS",
    arxiv="2006.11239",
)
HOLSCHNEIDER_1989 = Citation(
    "Holschneider, Matthias and Kronland-Martinet, Richard and Morlet, Jean and Tchamitchian, Philippe",
    "A real-time algorithm for signal analysis with the help of the wavelet transform",
    1989,
    conference="Wavelets: Time-Frequency Methods and Phase Space",
)
DING_2020 = Citation(
    "Ding, Keyan and Ma, Kede and Wang, Shiqi and Simoncelli, Eero P.",
    "Image quality assessment: unifying structure and texture similarity",
    2020,
    journal=_TPAMI,
    doi="10.1109/TPAMI.2020.3045810",
)
HURAULT_2022 = Citation(
    "Hurault, Samuel and Leclaire, Arthur and Papadakis, Nicolas",
    "Gradient step denoiser for convergent plug-and-play",
    2022,
    conference="ICLR",
    arxiv="2110.03220",
)
KADKHODAIE_2024 = Citation(
    "Kadkhodaie, Zahra and Guth, Florentin and Simoncelli, Eero P. and Mallat, Stéphane",
    "Generalization in diffusion models arises from geometry-adaptive harmonic representations",
    2024,
    conference="ICLR",
    arxiv="2310.02557",
)
KAMB_2025 = Citation(
    "Kamb, Mason and Ganguli, Surya",
    "An analytic theory of creativity in convolutional diffusion models",
    2025,
    conference="ICML",
    arxiv="2412.20292",
)
KAMKARI_2024 = Citation(
    "Kamkari, Hamidreza and Ross, Brendan Leigh and Hosseinzadeh, Rasa and Cresswell, Jesse C. and "
    "Loaiza-Ganem, Gabriel",
    "A geometric view of data complexity: efficient local intrinsic dimension estimation with diffusion models",
    2024,
    conference="NeurIPS",
    arxiv="2406.03537",
)
KARRAS_2022 = Citation(
    "Karras, Tero and Aittala, Miika and Aila, Timo and Laine, Samuli",
    "Elucidating the design space of diffusion-based generative models",
    2022,
    conference="NeurIPS",
    arxiv="2206.00364",
)
KOROSTELEV_1993 = Citation(
    "Korostelev, Alexander P. and Tsybakov, Alexandre B.",
    "Minimax theory of image reconstruction",
    1993,
    publisher="Springer",
    doi="10.1007/978-1-4612-2712-0",
)
LEDOIT_2004 = Citation(
    "Ledoit, Olivier and Wolf, Michael",
    "A well-conditioned estimator for large-dimensional covariance matrices",
    2004,
    journal="Journal of Multivariate Analysis",
    doi="10.1016/S0047-259X(03)00096-4",
)
LIANG_2021 = Citation(
    f"Liang, Jingyun and Cao, Jiezhang and Sun, Guolei and Zhang, Kai and {_VAN_GOOL}",
    "SwinIR: image restoration using Swin transformer",
    2021,
    conference="ICCV Workshops",
    arxiv="2108.10257",
)
LUKOIANOV_2025 = Citation(
    "Lukoianov, Artem and Yuan, Chenyang and Solomon, Justin and Sitzmann, Vincent",
    "Locality in image diffusion models emerges from data statistics",
    2025,
    conference="NeurIPS",
    arxiv="2509.09672",
)
MALLAT_1989 = Citation(
    "Mallat, Stéphane",
    "A theory for multiresolution signal decomposition: the wavelet representation",
    1989,
    journal=_TPAMI,
    doi="10.1109/34.192463",
)
MALVAR_2004 = Citation(
    "Malvar, Henrique S. and He, Li-wei and Cutler, Ross",
    "High-quality linear interpolation for demosaicing of Bayer-patterned color images",
    2004,
    conference="IEEE International Conference on Acoustics, Speech, and Signal Processing",
    doi="10.1109/ICASSP.2004.1326587",
)
MANOR_2024 = Citation(
    "Manor, Hila and Michaeli, Tomer",
    "On the posterior distribution in denoising: application to uncertainty quantification",
    2024,
    conference="ICLR",
    arxiv="2309.13598",
)
MEEHAN_2020 = Citation(
    "Meehan, Casey and Chaudhuri, Kamalika and Dasgupta, Sanjoy",
    "A non-parametric test to detect data-copying in generative models",
    2020,
    conference="AISTATS",
    arxiv="2004.05675",
)
MIYASAWA_1961 = Citation(
    "Miyasawa, Koichi",
    "An empirical Bayes estimator of the mean of a normal population",
    1961,
    journal="Bulletin of the International Statistical Institute",
)
MOHAN_2020 = Citation(
    "Mohan, Sreyas and Kadkhodaie, Zahra and Simoncelli, Eero P. and Fernandez-Granda, Carlos",
    "Robust and interpretable blind image denoising via bias-free convolutional neural networks",
    2020,
    conference="ICLR",
    arxiv="1906.05478",
)
NASON_1995 = Citation(
    "Nason, Guy P. and Silverman, Bernard W.",
    "The stationary wavelet transform and some statistical applications",
    1995,
    conference="Wavelets and Statistics",
)
NGUYEN_2010 = Citation(
    "Nguyen, Truong T. and Chauris, Hervé",
    "Uniform discrete curvelet transform",
    2010,
    journal="IEEE Transactions on Signal Processing",
)
NIEDOBA_2025 = Citation(
    "Niedoba, Matthew and Zwartsenberg, Berend and Murphy, Kevin Patrick and Wood, Frank",
    "Towards a mechanistic explanation of diffusion model generalization",
    2025,
    conference="ICML",
    arxiv="2411.19339",
)
PEEBLES_2023 = Citation(
    "Peebles, William and Xie, Saining",
    "Scalable diffusion models with transformers",
    2023,
    conference="ICCV",
    arxiv="2212.09748",
)
PEYRE_2008 = Citation(
    "Peyré, Gabriel and Mallat, Stéphane",
    "Orthogonal bandelet bases for geometric images approximation",
    2008,
    journal="Communications on Pure and Applied Mathematics",
    doi="10.1002/cpa.20242",
)
RAMANI_2008 = Citation(
    "Ramani, Sathish and Blu, Thierry and Unser, Michael",
    "Monte-Carlo SURE: a black-box optimization of regularization parameters for general denoising algorithms",
    2008,
    journal=_TIP,
    doi="10.1109/TIP.2008.2001404",
)
RICE_1945 = Citation(
    "Rice, Stephen O.", "Mathematical analysis of random noise", 1945, journal="Bell System Technical Journal"
)
RONNEBERGER_2015 = Citation(
    "Ronneberger, Olaf and Fischer, Philipp and Brox, Thomas",
    "U-Net: convolutional networks for biomedical image segmentation",
    2015,
    conference="MICCAI",
    arxiv="1505.04597",
)
ROSS_2025 = Citation(
    "Ross, Brendan Leigh and Kamkari, Hamidreza and Wu, Tongzi and Hosseinzadeh, Rasa and Liu, Zhaoyan and "
    "Stein, George and Cresswell, Jesse C. and Loaiza-Ganem, Gabriel",
    "A geometric framework for understanding memorization in generative models",
    2025,
    conference="ICLR",
    arxiv="2411.00113",
)
RUDIN_1992 = Citation(
    "Rudin, Leonid I. and Osher, Stanley and Fatemi, Emad",
    "Nonlinear total variation based noise removal algorithms",
    1992,
    journal="Physica D",
    doi="10.1016/0167-2789(92)90242-F",
)
SONG_2021 = Citation(
    "Song, Yang and Sohl-Dickstein, Jascha and Kingma, Diederik P. and Kumar, Abhishek and Ermon, Stefano and "
    "Poole, Ben",
    "Score-based generative modeling through stochastic differential equations",
    2021,
    conference="ICLR",
    arxiv="2011.13456",
)
SONG_2025 = Citation(
    "Song, Kiwhan and Kim, Jaeyeon and Chen, Sitan and Du, Yilun and Kakade, Sham and Sitzmann, Vincent",
    "Selective underfitting in diffusion models",
    2025,
    arxiv="2510.01378",
)
STEIN_1981 = Citation(
    "Stein, Charles M.",
    "Estimation of the mean of a multivariate normal distribution",
    1981,
    journal="The Annals of Statistics",
    doi="10.1214/aos/1176345632",
)
SZLAM_2008 = Citation(
    "Szlam, Arthur D. and Maggioni, Mauro and Coifman, Ronald R.",
    "Regularization on graphs with function-adapted diffusion processes",
    2008,
    journal="Journal of Machine Learning Research",
)
TACHELLA_2025 = Citation(
    "Tachella, Julián and others",
    "DeepInverse: a Python package for solving imaging inverse problems with deep learning",
    2025,
    journal="Journal of Open Source Software",
)
TOMASI_1998 = Citation(
    "Tomasi, Carlo and Manduchi, Roberto",
    "Bilateral filtering for gray and color images",
    1998,
    conference="ICCV",
    doi="10.1109/ICCV.1998.710815",
)
WALLACE_1992 = Citation(
    "Wallace, Gregory K.",
    "The JPEG still picture compression standard",
    1992,
    journal="IEEE Transactions on Consumer Electronics",
    doi="10.1109/30.125072",
)
WANG_2004 = Citation(
    "Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.",
    "Image quality assessment: from error visibility to structural similarity",
    2004,
    journal=_TIP,
    doi="10.1109/TIP.2003.819861",
)
WANG_2024 = Citation(
    "Wang, Binxu and Vastola, John J.",
    "The unreasonable effectiveness of Gaussian score approximation for diffusion models and its applications",
    2024,
    journal=_TMLR,
    arxiv="2412.09726",
)
WANG_2025 = Citation(
    "Wang, Binxu and Pehlevan, Cengiz",
    "An analytical theory of spectral bias in the learning dynamics of diffusion models",
    2025,
    conference="NeurIPS",
    arxiv="2503.03206",
)
WEICKERT_1998 = Citation("Weickert, Joachim", "Anisotropic diffusion in image processing", 1998, publisher="Teubner")
WIENER_1949 = Citation(
    "Wiener, Norbert", "Extrapolation, interpolation, and smoothing of stationary time series", 1949, publisher="Wiley"
)
YOON_2023 = Citation(
    "Yoon, TaeHo and Choi, Joo Young and Kwon, Sehyun and Ryu, Ernest K.",
    "Diffusion probabilistic models generalize when they fail to memorize",
    2023,
    conference="ICML Workshop on Structured Probabilistic Inference and Generative Modeling",
)
ZAMIR_2022 = Citation(
    "Zamir, Syed Waqas and Arora, Aditya and Khan, Salman and Hayat, Munawar and Khan, Fahad Shahbaz and "
    "Yang, Ming-Hsuan",
    "Restormer: efficient transformer for high-resolution image restoration",
    2022,
    conference="CVPR",
    arxiv="2111.09881",
)
ZHANG_2017 = Citation(
    "Zhang, Kai and Zuo, Wangmeng and Chen, Yunjin and Meng, Deyu and Zhang, Lei",
    "Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising",
    2017,
    journal=_TIP,
    arxiv="1608.03981",
)
ZHANG_2017_IRCNN = Citation(
    "Zhang, Kai and Zuo, Wangmeng and Gu, Shuhang and Zhang, Lei",
    "Learning deep CNN denoiser prior for image restoration",
    2017,
    conference="CVPR",
    arxiv="1704.03264",
)
ZHANG_2018 = Citation(
    "Zhang, Kai and Zuo, Wangmeng and Zhang, Lei",
    "FFDNet: toward a fast and flexible solution for CNN-based image denoising",
    2018,
    journal=_TIP,
    arxiv="1710.04026",
)
ZHANG_2018_LPIPS = Citation(
    "Zhang, Richard and Isola, Phillip and Efros, Alexei A. and Shechtman, Eli and Wang, Oliver",
    "The unreasonable effectiveness of deep features as a perceptual metric",
    2018,
    conference="CVPR",
    doi="10.1109/CVPR.2018.00068",
)
ZHANG_2021 = Citation(
    f"Zhang, Kai and Li, Yawei and Zuo, Wangmeng and Zhang, Lei and {_VAN_GOOL}",
    "Plug-and-play image restoration with deep denoiser prior",
    2021,
    journal=_TPAMI,
    arxiv="2008.13751",
)
ZHANG_2023 = Citation(
    "Zhang, Kai and others",
    "Practical blind image denoising via Swin-Conv-UNet and data synthesis",
    2023,
    journal="Machine Intelligence Research",
    arxiv="2203.13278",
)
ZHANG_2025 = Citation(
    "Zhang, Huijie and Huang, Zijian and Chen, Siyi and Zhou, Jinfan and Zhang, Zekai and Wang, Peng and Qu, Qing",
    "Understanding generalization in diffusion models via probability flow distance",
    2025,
    arxiv="2505.20123",
)
