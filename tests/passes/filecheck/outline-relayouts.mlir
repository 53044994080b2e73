// RUN: convc opt %s -p outline-relayouts | filecheck %s
// relayout(kernel(x) { f }) => kernel(x) { f, relayout } where f is injective
!t = tensor<1x8x2x2xf32, #convc.layout<"NCHW8c">>
!p = tensor<1x8x2x2xf32>
func.func @main(%x: !p) -> !t {
  %a = convc.kernel(%x) : (!p) -> !p {
  ^bb0(%q: !p):
    %d = convc.elementwise exp(%q) : (!p) -> !p
    convc.yield %d : !p
  }
  %y = convc.relayout %a : (!p) -> !t
  func.return %y : !t
}
// CHECK:      convc.kernel(%x)
// CHECK-NEXT: ^{{.*}}
// CHECK-NEXT:   convc.elementwise exp
// CHECK-NEXT:   convc.relayout
// CHECK-NEXT:   convc.yield
// CHECK-NOT:  convc.kernel

// -----
// but not where it has another reader
!t = tensor<1x8x2x2xf32, #convc.layout<"NCHW8c">>
!p = tensor<1x8x2x2xf32>
func.func @main(%x: !p) -> (!t, !p) {
  %a = convc.kernel(%x) : (!p) -> !p {
  ^bb0(%q: !p):
    %d = convc.elementwise exp(%q) : (!p) -> !p
    convc.yield %d : !p
  }
  %y = convc.relayout %a : (!p) -> !t
  func.return %y, %a : !t, !p
}
// CHECK:      %a = convc.kernel(%x)
// CHECK:      %y = convc.kernel(%a)
// CHECK:        convc.relayout
