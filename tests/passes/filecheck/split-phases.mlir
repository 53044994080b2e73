// RUN: convc opt %s -p split-phases{channel_block=8} | filecheck %s
// twice the size: four phases, each with two of the four taps of an axis, which lie at three places
func.func @main(%x: tensor<2x6x5x7xf32>) -> tensor<2x6x10x14xf32> {
  %w = convc.weight @w : tensor<6x1x4x4xf32>
  %y = convc.conv_transpose %x, %w strides [2, 2] pads [1, 1, 1, 1] dilations [1, 1] output_padding [0, 0] group 6
    : (tensor<2x6x5x7xf32>, tensor<6x1x4x4xf32>) -> tensor<2x6x10x14xf32>
  func.return %y : tensor<2x6x10x14xf32>
}
// CHECK:      [[P:%.*]] = convc.conv %x, {{.*}} strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 6
// CHECK-SAME: (tensor<2x6x5x7xf32>, tensor<24x1x3x3xf32>) -> tensor<2x24x5x7xf32>
// CHECK-NEXT: [[Q:%.*]] = convc.reshape [[P]] : (tensor<2x24x5x7xf32>) -> tensor<2x6x2x2x5x7xf32>
// CHECK-NEXT: [[R:%.*]] = convc.transpose [[Q]] perm [0, 1, 4, 2, 5, 3]
// CHECK-NEXT: convc.reshape [[R]] : (tensor<2x6x5x2x7x2xf32>) -> tensor<2x6x10x14xf32>

// -----
// an odd size: what is left over of the last phase is cut off
func.func @main(%x: tensor<1x4x5xf32>) -> tensor<1x2x11xf32> {
  %w = convc.weight @w : tensor<4x1x3xf32>
  %b = convc.weight @b : tensor<2xf32>
  %y = convc.conv_transpose %x, %w bias %b strides [2] pads [0, 0] dilations [1] output_padding [0] group 2
    : (tensor<1x4x5xf32>, tensor<4x1x3xf32>, tensor<2xf32>) -> tensor<1x2x11xf32>
  func.return %y : tensor<1x2x11xf32>
}
// CHECK:      convc.conv %x, {{.*}} bias {{.*}} strides [1] pads [1, 1] dilations [1] group 2
// CHECK-SAME: (tensor<1x4x5xf32>, tensor<4x2x2xf32>, tensor<4xf32>) -> tensor<1x4x6xf32>
// CHECK:      convc.slice {{.*}} (tensor<1x2x12xf32>) -> tensor<1x2x11xf32>

// -----
// no groups but few outputs: windows that do not meet have a phase for each tap
func.func @main(%x: tensor<2x24x3x5xf32>) -> tensor<2x2x6x10xf32> {
  %w = convc.weight @w : tensor<24x2x2x2xf32>
  %b = convc.weight @b : tensor<2xf32>
  %y = convc.conv_transpose %x, %w bias %b strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] output_padding [0, 0]
    group 1 : (tensor<2x24x3x5xf32>, tensor<24x2x2x2xf32>, tensor<2xf32>) -> tensor<2x2x6x10xf32>
  func.return %y : tensor<2x2x6x10xf32>
}
// CHECK:      [[P:%.*]] = convc.conv %x, {{.*}} bias {{.*}} strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
// CHECK-SAME: (tensor<2x24x3x5xf32>, tensor<8x24x1x1xf32>, tensor<8xf32>) -> tensor<2x8x3x5xf32>
// CHECK-NEXT: [[Q:%.*]] = convc.reshape [[P]] : (tensor<2x8x3x5xf32>) -> tensor<2x2x2x2x3x5xf32>
// CHECK-NEXT: [[R:%.*]] = convc.transpose [[Q]] perm [0, 1, 4, 2, 5, 3]
// CHECK-NEXT: convc.reshape [[R]] : (tensor<2x2x3x2x5x2xf32>) -> tensor<2x2x6x10xf32>

// -----
// outputs that fill as much of a vector, weights that are computed: both stay
func.func @main(%x: tensor<1x4x5xf32>, %v: tensor<4x2x2xf32>) -> (tensor<1x2x10xf32>, tensor<1x4x10xf32>) {
  %w = convc.weight @w : tensor<4x2x2xf32>
  %a = convc.conv_transpose %x, %w strides [2] pads [0, 0] dilations [1] output_padding [0] group 1
    : (tensor<1x4x5xf32>, tensor<4x2x2xf32>) -> tensor<1x2x10xf32>
  %b = convc.conv_transpose %x, %v strides [2] pads [0, 0] dilations [1] output_padding [0] group 2
    : (tensor<1x4x5xf32>, tensor<4x2x2xf32>) -> tensor<1x4x10xf32>
  func.return %a, %b : tensor<1x2x10xf32>, tensor<1x4x10xf32>
}
// CHECK:      %a = convc.conv_transpose %x, %w
// CHECK:      %b = convc.conv_transpose %x, %v
