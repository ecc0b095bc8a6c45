"""Pure array functions, in the order of the course: no parameters, no Flax."""

from .activation import activation_slope
from .anchors import best_anchor_iou, kmeans_anchors
from .backprop import LayerGradients, backprop, conv2d_backward, linear_backward
from .boxes import (
    box_area,
    ciou,
    clip_boxes,
    cxcywh_to_xyxy,
    diou,
    giou,
    iou,
    pairwise_iou,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from .convolution import conv2d, conv_matrix, conv_transpose2d, separable_conv2d
from .counting import (
    Count,
    ReceptiveField,
    Window,
    conv_output_size,
    count_conv,
    count_linear,
    count_separable,
    receptive_field,
)
from .linear import PerceptronFit, linear, perceptron, train_perceptron
from .nms import Selection, nms, soft_nms
from .normalization import (
    Moments,
    batch_moments,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
)
from .pooling import max_pool, mean_pool
from .resampling import bilinear_kernel, upsample_bilinear, upsample_nearest
from .yolo import (
    Predictions,
    YoloTarget,
    shape_iou,
    split_head,
    yolo_boxes,
    yolo_decode,
    yolo_encode,
)

__all__ = [
    "linear",
    "PerceptronFit",
    "perceptron",
    "train_perceptron",
    "activation_slope",
    "Count",
    "count_linear",
    "count_conv",
    "count_separable",
    "conv_output_size",
    "Window",
    "ReceptiveField",
    "receptive_field",
    "LayerGradients",
    "backprop",
    "linear_backward",
    "conv2d_backward",
    "conv2d",
    "conv_transpose2d",
    "separable_conv2d",
    "conv_matrix",
    "max_pool",
    "mean_pool",
    "Moments",
    "batch_moments",
    "batch_norm",
    "layer_norm",
    "instance_norm",
    "group_norm",
    "upsample_nearest",
    "upsample_bilinear",
    "bilinear_kernel",
    "xyxy_to_cxcywh",
    "cxcywh_to_xyxy",
    "xyxy_to_xywh",
    "xywh_to_xyxy",
    "clip_boxes",
    "box_area",
    "iou",
    "giou",
    "diou",
    "ciou",
    "pairwise_iou",
    "Selection",
    "nms",
    "soft_nms",
    "shape_iou",
    "best_anchor_iou",
    "kmeans_anchors",
    "Predictions",
    "YoloTarget",
    "split_head",
    "yolo_boxes",
    "yolo_decode",
    "yolo_encode",
]
