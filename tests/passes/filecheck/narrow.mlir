// RUN: convc opt %s -p fuse,narrow{storage=float16} | filecheck %s
// what lies between kernels is narrow, and so is the weight; the bias, the network's input and its result are not
!t = tensor<1x8x6x6xf32>
func.func @main(%x: !t, %k: !t) -> !t {
  %w = convc.weight @w : tensor<8x8x1x1xf32>
  %b = convc.weight @b : tensor<8xf32>
  %a = convc.conv %x, %w bias %b strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!t, tensor<8x8x1x1xf32>, tensor<8xf32>) -> !t
  %s = convc.elementwise mul(%a, %k) : (!t, !t) -> !t
  %p = convc.pool max %s kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!t) -> !t
  func.return %p : !t
}
// CHECK:      convc.kernel(%x){{.*}}-> tensor<1x8x6x6xf16>
// CHECK:      convc.weight @w.float16 : tensor<8x8x1x1xf16>
// CHECK:      convc.weight @b : tensor<8xf32>
// CHECK:      %s = convc.kernel({{.*}}%k) : (tensor<1x8x6x6xf16>, tensor<8x8x1x1xf16>, tensor<8xf32>, tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf16>
// CHECK:        convc.conv {{.*}} -> tensor<1x8x6x6xf32>
// CHECK:        convc.elementwise mul{{.*}} -> tensor<1x8x6x6xf32>
// CHECK:        convc.cast {{.*}} -> tensor<1x8x6x6xf16>
// CHECK:      %p = convc.kernel(%s) : (tensor<1x8x6x6xf16>) -> tensor<1x8x6x6xf32>

// -----
// kernels that only move data move the narrow type; a reshape is a view of it
!t = tensor<1x8x2x2xf32>
!v = tensor<1x4x2x2x2xf32>
func.func @main(%x: !t) -> !v {
  %w = convc.weight @w : tensor<8x8x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<8x8x1x1xf32>) -> !t
  %e = convc.reshape %a : (!t) -> !v
  %m = convc.transpose %e perm [0, 1, 2, 4, 3] : (!v) -> !v
  %r = convc.reshape %m : (!v) -> !t
  %y = convc.conv %r, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<8x8x1x1xf32>) -> !t
  %z = convc.reshape %y : (!t) -> !v
  func.return %z : !v
}
// CHECK:      convc.reshape {{.*}} -> tensor<1x4x2x2x2xf16>
// CHECK:      convc.kernel({{.*}}) : (tensor<1x4x2x2x2xf16>) -> tensor<1x4x2x2x2xf16>
// CHECK-NOT:  convc.cast
// CHECK:        convc.transpose {{.*}} -> tensor<1x4x2x2x2xf16>
// CHECK:      convc.reshape {{.*}} -> tensor<1x8x2x2xf16>
// CHECK:      %y = convc.kernel({{.*}} -> tensor<1x8x2x2xf32>
