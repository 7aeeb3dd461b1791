"""Why a network predicts what it does: Grad-CAM for pictures and for whole data sets."""
