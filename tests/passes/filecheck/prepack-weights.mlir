// RUN: convc opt %s -p prepack-weights,outline-relayouts | filecheck %s
// relayout(weight @w) => weight @w.OIHW8i8o, once for all readers; other changes of layout become kernels
!t = tensor<1x8x2x2xf32, #convc.layout<"NCHW8c">>
!p = tensor<1x8x2x2xf32>
!w = tensor<8x8x1x1xf32, #convc.layout<"OIHW8i8o">>
func.func @main(%x: !p) -> !p {
  %w = convc.weight @w : tensor<8x8x1x1xf32>
  %a = convc.relayout %w : (tensor<8x8x1x1xf32>) -> !w
  %b = convc.relayout %w : (tensor<8x8x1x1xf32>) -> !w
  %i = convc.relayout %x : (!p) -> !t
  %y = convc.kernel(%i, %a, %b) : (!t, !w, !w) -> !t {
  ^bb0(%p: !t, %q: !w, %r: !w):
    %c = convc.conv %p, %q strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !w) -> !t
    %d = convc.elementwise neg(%c) : (!t) -> !t
    convc.yield %d : !t
  }
  %o = convc.relayout %y : (!t) -> !p
  func.return %o : !p
}
// CHECK-NOT:  convc.weight @w :
// CHECK:      convc.weight @w.OIHW8i8o : tensor<8x8x1x1xf32, #convc.layout<"OIHW8i8o">>
// CHECK:      %i = convc.kernel(%x)
// CHECK:        convc.relayout
// CHECK:      convc.kernel
// CHECK:      %o = convc.kernel
// CHECK:        convc.relayout
