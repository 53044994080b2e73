// RUN: convc opt %s -p hoist-strides | filecheck %s
// as the stages of the first ResNets: both readers step over every second element, and so does what computes it;
// the operand that others read whole is sliced
!x = tensor<1x8x7x7xf32>
func.func @main(%x: !x) -> (tensor<1x4x4x4xf32>, tensor<1x4x4x4xf32>, !x) {
  %w = convc.weight @w : tensor<8x8x3x3xf32>
  %v = convc.weight @v : tensor<8x8x1x1xf32>
  %u = convc.weight @u : tensor<4x8x1x1xf32>
  %t = convc.weight @t : tensor<4x8x1x1xf32>
  %p = convc.elementwise sigmoid(%x) : (!x) -> !x
  %h = convc.conv %p, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1 : (!x, tensor<8x8x3x3xf32>) -> !x
  %a = convc.elementwise relu(%h) : (!x) -> !x
  %e = convc.conv %a, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!x, tensor<8x8x1x1xf32>) -> !x
  %s = convc.elementwise add(%e, %p) : (!x, !x) -> !x
  %r = convc.elementwise relu(%s) : (!x) -> !x
  %y = convc.conv %r, %u strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!x, tensor<4x8x1x1xf32>) -> tensor<1x4x4x4xf32>
  %z = convc.conv %r, %t strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!x, tensor<4x8x1x1xf32>) -> tensor<1x4x4x4xf32>
  func.return %y, %z, %p : tensor<1x4x4x4xf32>, tensor<1x4x4x4xf32>, !x
}
// CHECK: %p = convc.elementwise sigmoid(%x)
// CHECK-NEXT: %h = convc.conv %p, %w strides [2, 2] pads [1, 1, 1, 1]
// CHECK-NEXT: %a = convc.elementwise relu(%h) : (tensor<1x8x4x4xf32>) -> tensor<1x8x4x4xf32>
// CHECK-NEXT: %e = convc.conv %a, %v strides [1, 1]
// CHECK-NEXT: [[PART:%.*]] = convc.slice %p starts [0, 0, 0, 0] steps [1, 1, 2, 2]
// CHECK-NEXT: %s = convc.elementwise add(%e, [[PART]])
// CHECK-NEXT: %r = convc.elementwise relu(%s)
// CHECK-NEXT: %y = convc.conv %r, %u strides [1, 1]
// CHECK-NEXT: %z = convc.conv %r, %t strides [1, 1]

// -----
// one reader steps by 2 and one by 4: every second element is computed
func.func @main(%x: tensor<1x2x9xf32>) -> (tensor<1x2x5xf32>, tensor<1x2x2xf32>) {
  %r = convc.elementwise relu(%x) : (tensor<1x2x9xf32>) -> tensor<1x2x9xf32>
  %y = convc.slice %r starts [0, 0, 0] steps [1, 1, 2] : (tensor<1x2x9xf32>) -> tensor<1x2x5xf32>
  %z = convc.slice %r starts [0, 0, 0] steps [1, 1, 4] : (tensor<1x2x9xf32>) -> tensor<1x2x2xf32>
  func.return %y, %z : tensor<1x2x5xf32>, tensor<1x2x2xf32>
}
// CHECK: [[PART:%.*]] = convc.slice %x starts [0, 0, 0] steps [1, 1, 2] : (tensor<1x2x9xf32>) -> tensor<1x2x5xf32>
// CHECK-NEXT: %r = convc.elementwise relu([[PART]])
// CHECK-NEXT: %y = convc.slice %r starts [0, 0, 0] steps [1, 1, 1]
// CHECK-NEXT: %z = convc.slice %r starts [0, 0, 0] steps [1, 1, 2] : (tensor<1x2x5xf32>) -> tensor<1x2x2xf32>

// -----
// a window reads neighbours, a slice from 1 on others, channels are never stepped over, a result is wanted whole
!x = tensor<1x2x8x8xf32>
func.func @main(%x: !x) -> (tensor<1x2x4x4xf32>, tensor<1x2x4x8xf32>, tensor<1x1x8x8xf32>, tensor<1x2x4x8xf32>, !x) {
  %w = convc.weight @w : tensor<2x2x2x2xf32>
  %a = convc.elementwise relu(%x) : (!x) -> !x
  %y = convc.conv %a, %w strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!x, tensor<2x2x2x2xf32>) -> tensor<1x2x4x4xf32>
  %b = convc.elementwise exp(%x) : (!x) -> !x
  %z = convc.slice %b starts [0, 0, 1, 0] steps [1, 1, 2, 1] : (!x) -> tensor<1x2x4x8xf32>
  %c = convc.elementwise sqrt(%x) : (!x) -> !x
  %v = convc.slice %c starts [0, 0, 0, 0] steps [1, 2, 1, 1] : (!x) -> tensor<1x1x8x8xf32>
  %d = convc.elementwise sigmoid(%x) : (!x) -> !x
  %u = convc.slice %d starts [0, 0, 0, 0] steps [1, 1, 2, 1] : (!x) -> tensor<1x2x4x8xf32>
  func.return %y, %z, %v, %u, %d : tensor<1x2x4x4xf32>, tensor<1x2x4x8xf32>, tensor<1x1x8x8xf32>, tensor<1x2x4x8xf32>, !x
}
// CHECK: relu(%x) : (tensor<1x2x8x8xf32>)
// CHECK: exp(%x) : (tensor<1x2x8x8xf32>)
// CHECK: sqrt(%x) : (tensor<1x2x8x8xf32>)
// CHECK: sigmoid(%x) : (tensor<1x2x8x8xf32>)
