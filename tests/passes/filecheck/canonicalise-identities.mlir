// RUN: convc opt %s -p canonicalise | filecheck %s
// x + 0, x - 0, x * 1, x / 1, x^1, max(x, -inf), min(x, inf) => x
!t = tensor<2x3xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> !t {
  %zero = convc.constant 0.0 : f64 : !s
  %one = convc.constant 1.0 : f64 : !s
  %low = convc.constant 0xfff0000000000000 : f64 : !s
  %high = convc.constant 0x7ff0000000000000 : f64 : !s
  %a = convc.elementwise add(%zero, %x) : (!s, !t) -> !t
  %b = convc.elementwise sub(%a, %zero) : (!t, !s) -> !t
  %c = convc.elementwise mul(%one, %b) : (!s, !t) -> !t
  %d = convc.elementwise div(%c, %one) : (!t, !s) -> !t
  %e = convc.elementwise pow(%d, %one) : (!t, !s) -> !t
  %f = convc.elementwise max(%e, %low) : (!t, !s) -> !t
  %g = convc.elementwise min(%f, %high) : (!t, !s) -> !t
  func.return %g : !t
}
// CHECK:      @main(%x: tensor<2x3xf32>)
// CHECK-NEXT: func.return %x

// -----
// a weight that holds one number is a constant: x * @one => x
!t = tensor<2x3xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @one : tensor<2x1xf32>
  %y = convc.elementwise mul(%x, %w) : (!t, tensor<2x1xf32>) -> !t
  func.return %y : !t
}
// CHECK:      @main(%x: tensor<2x3xf32>)
// CHECK-NEXT: func.return %x

// -----
// x + 0 of a larger shape => broadcast(x)
func.func @main(%x: tensor<1x3xf32>) -> tensor<2x3xf32> {
  %w = convc.weight @zero : tensor<2x1xf32>
  %c = convc.constant 0.0 : f64 : tensor<2x1xf32>
  %y = convc.elementwise add(%x, %c) : (tensor<1x3xf32>, tensor<2x1xf32>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}
// CHECK:      @main
// CHECK-NEXT: %y = convc.broadcast %x : (tensor<1x3xf32>) -> tensor<2x3xf32>

// -----
// x - c => x + -c, x / 4 => x * 0.25, but x / 3 stays: 1/3 is not exact
!t = tensor<2x3xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> (!t, !t, !t, !t) {
  %c = convc.constant 2.5 : f64 : !s
  %four = convc.constant 4.0 : f64 : !s
  %three = convc.constant 3.0 : f64 : !s
  %w = convc.weight @w : tensor<3xf32>
  %d = convc.elementwise sub(%x, %c) : (!t, !s) -> !t
  %q = convc.elementwise div(%x, %four) : (!t, !s) -> !t
  %r = convc.elementwise div(%x, %three) : (!t, !s) -> !t
  %v = convc.elementwise sub(%x, %w) : (!t, tensor<3xf32>) -> !t
  func.return %d, %q, %r, %v : !t, !t, !t, !t
}
// CHECK:      [[C:%.*]] = convc.constant -2.500000e+00
// CHECK:      %d = convc.elementwise add(%x, [[C]])
// CHECK:      [[Q:%.*]] = convc.constant 2.500000e-01
// CHECK:      %q = convc.elementwise mul(%x, [[Q]])
// CHECK:      %r = convc.elementwise div(%x, %three)
// CHECK:      [[W:%.*]] = convc.weight @w.{{.*}} : tensor<1x3xf32>
// CHECK-NEXT: %v = convc.elementwise add(%x, [[W]])

// -----
// x * -1 => -x      0 - x => -x      1 / x => reciprocal(x)      --x => x
!t = tensor<2x3xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> (!t, !t, !t, !t) {
  %minus = convc.constant -1.0 : f64 : !s
  %zero = convc.constant 0.0 : f64 : !s
  %one = convc.constant 1.0 : f64 : !s
  %a = convc.elementwise mul(%x, %minus) : (!t, !s) -> !t
  %b = convc.elementwise sub(%zero, %x) : (!s, !t) -> !t
  %c = convc.elementwise div(%one, %x) : (!s, !t) -> !t
  %d = convc.elementwise neg(%b) : (!t) -> !t
  func.return %a, %b, %c, %d : !t, !t, !t, !t
}
// CHECK:      @main
// CHECK-NEXT: %a = convc.elementwise neg(%x)
// CHECK-NEXT: %c = convc.elementwise reciprocal(%x)
// CHECK-NEXT: func.return %a, %a, %c, %x

// -----
// x + -y => x - y      -x + y => y - x      x - -y => x + y
!t = tensor<2x3xf32>
func.func @main(%x: !t, %y: !t) -> (!t, !t, !t) {
  %m = convc.elementwise neg(%x) : (!t) -> !t
  %n = convc.elementwise neg(%y) : (!t) -> !t
  %a = convc.elementwise add(%x, %n) : (!t, !t) -> !t
  %b = convc.elementwise add(%m, %y) : (!t, !t) -> !t
  %c = convc.elementwise sub(%x, %n) : (!t, !t) -> !t
  func.return %a, %b, %c : !t, !t, !t
}
// CHECK:      @main
// CHECK-NEXT: %a = convc.elementwise sub(%x, %y)
// CHECK-NEXT: %b = convc.elementwise sub(%y, %x)
// CHECK-NEXT: %c = convc.elementwise add(%x, %y)

// -----
// x^2 => x * x      |x|^0.5 => sqrt(|x|)      x^-1 => reciprocal(x)      x^3 and x^0.5 stay
!t = tensor<2x3xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> (!t, !t, !t, !t, !t) {
  %two = convc.constant 2.0 : f64 : !s
  %half = convc.constant 0.5 : f64 : !s
  %minus = convc.constant -1.0 : f64 : !s
  %three = convc.constant 3.0 : f64 : !s
  %p = convc.elementwise abs(%x) : (!t) -> !t
  %a = convc.elementwise pow(%x, %two) : (!t, !s) -> !t
  %b = convc.elementwise pow(%p, %half) : (!t, !s) -> !t
  %c = convc.elementwise pow(%x, %minus) : (!t, !s) -> !t
  %d = convc.elementwise pow(%x, %three) : (!t, !s) -> !t
  %e = convc.elementwise pow(%x, %half) : (!t, !s) -> !t
  func.return %a, %b, %c, %d, %e : !t, !t, !t, !t, !t
}
// CHECK:      %a = convc.elementwise mul(%x, %x)
// CHECK-NEXT: %b = convc.elementwise sqrt(%p)
// CHECK-NEXT: %c = convc.elementwise reciprocal(%x)
// CHECK-NEXT: %d = convc.elementwise pow(%x, %three)
// CHECK-NEXT: %e = convc.elementwise pow(%x, %half)

// -----
// clip(relu(x), -1, 6) => clip(x, 0, 6)      clip(clip(x)) => clip(x)      relu(relu(x)) => relu(x)
!t = tensor<2x3xf32>
func.func @main(%x: !t) -> (!t, !t, !t, !t) {
  %r = convc.elementwise relu(%x) : (!t) -> !t
  %a = convc.elementwise clip(%r) params [-1.0 : f64, 6.0 : f64] : (!t) -> !t
  %i = convc.elementwise clip(%x) params [-2.0 : f64, 2.0 : f64] : (!t) -> !t
  %b = convc.elementwise clip(%i) params [-1.0 : f64, 3.0 : f64] : (!t) -> !t
  %c = convc.elementwise relu(%r) : (!t) -> !t
  %d = convc.elementwise clip(%x) params [0xfff0000000000000 : f64, 0x7ff0000000000000 : f64] : (!t) -> !t
  func.return %a, %b, %c, %d : !t, !t, !t, !t
}
// CHECK:      %a = convc.elementwise clip(%x) params [0.000000e+00 : f64, 6.000000e+00 : f64]
// CHECK:      %b = convc.elementwise clip(%x) params [-1.000000e+00 : f64, 2.000000e+00 : f64]
// CHECK-NEXT: %c = convc.elementwise relu(%x)
// CHECK-NEXT: func.return %a, %b, %c, %x

// -----
// relu(x), |x|, max(x, -1) => x where x cannot be below
!t = tensor<2x3xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> (!t, !t, !t) {
  %minus = convc.constant -1.0 : f64 : !s
  %s = convc.elementwise sigmoid(%x) : (!t) -> !t
  %a = convc.elementwise relu(%s) : (!t) -> !t
  %b = convc.elementwise abs(%s) : (!t) -> !t
  %h = convc.elementwise tanh(%x) : (!t) -> !t
  %c = convc.elementwise max(%h, %minus) : (!t, !s) -> !t
  func.return %a, %b, %c : !t, !t, !t
}
// CHECK:      func.return %s, %s, %h

// -----
// max(x, x) => x      where(c, x, x) => x      sqrt(s) * sqrt(s) => s where s >= 0
!t = tensor<2x3xf32>
func.func @main(%x: !t, %c: tensor<2x3xi1>) -> (!t, !t, !t) {
  %a = convc.elementwise max(%x, %x) : (!t, !t) -> !t
  %b = convc.elementwise where(%c, %x, %x) : (tensor<2x3xi1>, !t, !t) -> !t
  %e = convc.elementwise exp(%x) : (!t) -> !t
  %s = convc.elementwise sqrt(%e) : (!t) -> !t
  %d = convc.elementwise mul(%s, %s) : (!t, !t) -> !t
  func.return %a, %b, %d : !t, !t, !t
}
// CHECK:      func.return %x, %x, %e

// -----
// f(broadcast(x), y) => f(x, y), unless it is the broadcast that gives the shape
!t = tensor<2x3xf32>
func.func @main(%x: tensor<1x3xf32>, %y: !t) -> (!t, !t) {
  %b = convc.broadcast %x : (tensor<1x3xf32>) -> !t
  %a = convc.elementwise add(%b, %y) : (!t, !t) -> !t
  %c = convc.elementwise exp(%b) : (!t) -> !t
  func.return %a, %c : !t, !t
}
// CHECK:      %a = convc.elementwise add(%x, %y) : (tensor<1x3xf32>, tensor<2x3xf32>)
// CHECK:      %c = convc.elementwise exp(%b)

// -----
// cast(cast(x)) => x where the inner cast loses nothing; f32 to i32 does
!t = tensor<2x3xf32>
func.func @main(%x: !t) -> (!t, !t) {
  %d = convc.cast %x : (!t) -> tensor<2x3xf64>
  %a = convc.cast %d : (tensor<2x3xf64>) -> !t
  %i = convc.cast %x : (!t) -> tensor<2x3xi32>
  %b = convc.cast %i : (tensor<2x3xi32>) -> !t
  func.return %a, %b : !t, !t
}
// CHECK:      @main
// CHECK-NEXT: %i = convc.cast %x
// CHECK-NEXT: %b = convc.cast %i
// CHECK-NEXT: func.return %x, %b

// -----
// what lies below a clip says nothing above its upper bound
!t = tensor<2x3xf32>
func.func @main(%x: !t) -> !t {
  %three = convc.constant 3.0 : f64 : tensor<f32>
  %a = convc.elementwise max(%x, %three) : (!t, tensor<f32>) -> !t
  %b = convc.elementwise clip(%a) params [0xfff0000000000000 : f64, 1.0 : f64] : (!t) -> !t
  %y = convc.elementwise max(%b, %three) : (!t, tensor<f32>) -> !t
  func.return %y : !t
}
// CHECK:      %y = convc.elementwise max(%b, %three)
