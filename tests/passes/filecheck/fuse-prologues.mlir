// RUN: convc opt %s -p fuse,assign-layouts{channel_block=8},fuse-prologues | filecheck %s
// conv(relu(x * s + b), w) => kernel(x, s, b, w) { mul, add, relu, conv }
!t = tensor<1x16x4x4xf32>
!s = tensor<1x16x1x1xf32>
!w = tensor<16x16x1x1xf32>
func.func @main(%x: !t, %s: !s, %b: !s) -> (!t, !t) {
  %v = convc.weight @v : !w
  %w = convc.weight @w : !w
  %c = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> !t
  %m = convc.elementwise mul(%c, %s) : (!t, !s) -> !t
  %a = convc.elementwise add(%m, %b) : (!t, !s) -> !t
  %r = convc.elementwise relu(%a) : (!t) -> !t
  %y = convc.conv %r, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> !t
  %z = convc.elementwise relu(%y) : (!t) -> !t
  func.return %c, %z : !t, !t
}
// CHECK:      %c = convc.kernel
// CHECK:        convc.conv
// CHECK-NEXT:   convc.yield
// CHECK:      %z = convc.kernel(%c, %{{.*}}, %{{.*}}, %{{.*}})
// CHECK:        convc.elementwise mul
// CHECK-NEXT:   convc.elementwise add
// CHECK-NEXT:   %r = convc.elementwise relu
// CHECK-NEXT:   convc.conv %r
// CHECK-NEXT:   convc.elementwise relu
// CHECK-NEXT:   convc.yield
// CHECK-NOT:  convc.kernel

// -----
// what two read stays in memory, and so does what a window of several points reads
!t = tensor<1x16x4x4xf32>
!w = tensor<16x16x1x1xf32>
!v = tensor<16x16x3x3xf32>
func.func @main(%x: !t) -> (!t, !t, !t) {
  %w = convc.weight @w : !w
  %v = convc.weight @v : !v
  %c = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> !t
  %e = convc.elementwise exp(%c) : (!t) -> !t
  %a = convc.conv %e, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> !t
  %n = convc.elementwise neg(%c) : (!t) -> !t
  %b = convc.conv %n, %v strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1 : (!t, !v) -> !t
  func.return %e, %a, %b : !t, !t, !t
}
// CHECK:      %c = convc.kernel
// CHECK:      %e = convc.kernel
// CHECK:      %a = convc.kernel
// CHECK:      %n = convc.kernel
// CHECK:      %b = convc.kernel
