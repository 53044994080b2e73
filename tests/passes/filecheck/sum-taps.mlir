// RUN: convc opt %s -p sum-taps{channel_block=8} | filecheck %s
// a window for one output: its taps as channels, summed where they meet
func.func @main(%x: tensor<1x16x5x6xf32>) -> tensor<1x1x6x6xf32> {
  %w = convc.weight @w : tensor<1x16x1x3xf32>
  %b = convc.weight @b : tensor<1xf32>
  %y = convc.conv %x, %w bias %b strides [1, 1] pads [1, 1, 0, 1] dilations [1, 1] group 1
    : (tensor<1x16x5x6xf32>, tensor<1x16x1x3xf32>, tensor<1xf32>) -> tensor<1x1x6x6xf32>
  func.return %y : tensor<1x1x6x6xf32>
}
// CHECK:      [[P:%.*]] = convc.conv %x, {{.*}} (tensor<1x16x5x6xf32>, tensor<3x16x1x1xf32>) -> tensor<1x3x5x6xf32>
// CHECK-NEXT: [[Q:%.*]] = convc.pad constant [[P]] pads [0, 0, 1, 1, 0, 0, 0, 1]
// CHECK-NEXT: [[A:%.*]] = convc.slice [[Q]] starts [0, 0, 0, 0]
// CHECK-NEXT: [[B:%.*]] = convc.slice [[Q]] starts [0, 1, 0, 1]
// CHECK-NEXT: [[C:%.*]] = convc.elementwise add([[A]], [[B]])
// CHECK-NEXT: [[D:%.*]] = convc.slice [[Q]] starts [0, 2, 0, 2]
// CHECK-NEXT: [[E:%.*]] = convc.elementwise add([[C]], [[D]])
// CHECK-NEXT: [[F:%.*]] = convc.reshape %b : (tensor<1xf32>) -> tensor<1x1x1x1xf32>
// CHECK-NEXT: convc.elementwise add([[E]], [[F]])

// -----
// dilation moves the taps apart; two outputs lie side by side
func.func @main(%x: tensor<2x32x9xf32>) -> tensor<2x2x5xf32> {
  %w = convc.weight @w : tensor<2x32x3xf32>
  %y = convc.conv %x, %w strides [1] pads [0, 0] dilations [2] group 1
    : (tensor<2x32x9xf32>, tensor<2x32x3xf32>) -> tensor<2x2x5xf32>
  func.return %y : tensor<2x2x5xf32>
}
// CHECK:      [[P:%.*]] = convc.conv %x, {{.*}} (tensor<2x32x9xf32>, tensor<6x32x1xf32>) -> tensor<2x6x9xf32>
// CHECK-NEXT: convc.slice [[P]] starts [0, 0, 0]
// CHECK-NEXT: convc.slice [[P]] starts [0, 2, 2]
// CHECK:      convc.slice [[P]] starts [0, 4, 4]

// -----
// a stride, groups, few inputs, many outputs, weights that are computed: all stay
!t = tensor<1x16x6x6xf32>
!w = tensor<1x16x3x3xf32>
func.func @main(%x: !t, %s: tensor<1x4x6x6xf32>, %z: !w) -> (tensor<1x1x2x2xf32>, tensor<1x2x4x4xf32>,
    tensor<1x1x4x4xf32>, tensor<1x8x4x4xf32>, tensor<1x1x4x4xf32>) {
  %w = convc.weight @w : !w
  %v = convc.weight @v : tensor<2x8x3x3xf32>
  %r = convc.weight @r : tensor<1x4x3x3xf32>
  %q = convc.weight @q : tensor<8x16x3x3xf32>
  %a = convc.conv %x, %w strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> tensor<1x1x2x2xf32>
  %b = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 2
    : (!t, tensor<2x8x3x3xf32>) -> tensor<1x2x4x4xf32>
  %c = convc.conv %s, %r strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (tensor<1x4x6x6xf32>, tensor<1x4x3x3xf32>) -> tensor<1x1x4x4xf32>
  %d = convc.conv %x, %q strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!t, tensor<8x16x3x3xf32>) -> tensor<1x8x4x4xf32>
  %e = convc.conv %x, %z strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> tensor<1x1x4x4xf32>
  func.return %a, %b, %c, %d, %e : tensor<1x1x2x2xf32>, tensor<1x2x4x4xf32>, tensor<1x1x4x4xf32>,
    tensor<1x8x4x4xf32>, tensor<1x1x4x4xf32>
}
// CHECK:      %a = convc.conv %x, %w
// CHECK:      %b = convc.conv %x, %v
// CHECK:      %c = convc.conv %s, %r
// CHECK:      %d = convc.conv %x, %q
// CHECK:      %e = convc.conv %x, %z
