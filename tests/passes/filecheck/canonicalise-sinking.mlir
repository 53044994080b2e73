// RUN: convc opt %s -p canonicalise | filecheck %s
// transpose'(f(transpose(x), c)) => f(x, c'): a network in NHWC
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
func.func @main(%x: !c) -> !c {
  %w = convc.weight @w : tensor<4xf32>
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %b = convc.elementwise add(%a, %w) : (!l, tensor<4xf32>) -> !l
  %d = convc.elementwise relu(%b) : (!l) -> !l
  %y = convc.transpose %d perm [0, 3, 1, 2] : (!l) -> !c
  func.return %y : !c
}
// CHECK:      @main
// CHECK-NEXT: [[W:%.*]] = convc.weight @{{.*}} : tensor<1x4x1x1xf32>
// CHECK-NEXT: [[B:%.*]] = convc.elementwise add(%x, [[W]])
// CHECK-NEXT: %y = convc.elementwise relu([[B]])
// CHECK-NEXT: func.return %y

// -----
// the constant of a transpose that moves larger axes is transposed with it
!t = tensor<2x3x4xf32>
!u = tensor<4x2x3xf32>
func.func @main(%x: !t) -> !u {
  %w = convc.weight @w : !u
  %a = convc.transpose %x perm [2, 0, 1] : (!t) -> !u
  %y = convc.elementwise mul(%a, %w) : (!u, !u) -> !u
  func.return %y : !u
}
// CHECK:      [[W:%.*]] = convc.weight @{{.*}} : tensor<2x3x4xf32>
// CHECK-NEXT: [[M:%.*]] = convc.elementwise mul(%x, [[W]])
// CHECK-NEXT: %y = convc.transpose [[M]] perm [2, 0, 1]

// -----
// a residual block: both operands come out of the same transpose
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
func.func @main(%x: !c, %z: !c) -> !c {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %b = convc.transpose %z perm [0, 2, 3, 1] : (!c) -> !l
  %d = convc.elementwise add(%a, %b) : (!l, !l) -> !l
  %e = convc.elementwise relu(%d) : (!l) -> !l
  %y = convc.transpose %e perm [0, 3, 1, 2] : (!l) -> !c
  func.return %y : !c
}
// CHECK:      @main
// CHECK-NEXT: [[D:%.*]] = convc.elementwise add(%x, %z)
// CHECK-NEXT: %y = convc.elementwise relu([[D]])

// -----
// squeeze and excite: the mean over H and W, and a factor a channel
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
func.func @main(%x: !c) -> !c {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %m = convc.reduce mean %a axes [1, 2] keepdims : (!l) -> tensor<1x1x1x4xf32>
  %s = convc.elementwise sigmoid(%m) : (tensor<1x1x1x4xf32>) -> tensor<1x1x1x4xf32>
  %d = convc.elementwise mul(%a, %s) : (!l, tensor<1x1x1x4xf32>) -> !l
  %y = convc.transpose %d perm [0, 3, 1, 2] : (!l) -> !c
  func.return %y : !c
}
// CHECK:      @main
// CHECK-NEXT: [[M:%.*]] = convc.reduce mean %x axes [2, 3] keepdims
// CHECK-NEXT: [[S:%.*]] = convc.elementwise sigmoid([[M]])
// CHECK-NEXT: %y = convc.elementwise mul(%x, [[S]])

// -----
// through concat, slice, pad, cast, softmax, resize and arg_reduce
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
func.func @main(%x: !c, %z: !c) -> (tensor<1x8x5x6xf32>, tensor<1x2x5x3xf32>, tensor<1x4x7x6xf64>, !c,
    tensor<1x4x10x6xf32>, tensor<1x1x5x6xi64>) {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %b = convc.transpose %z perm [0, 2, 3, 1] : (!c) -> !l
  %d = convc.concat %a, %b axis 3 : (!l, !l) -> tensor<1x5x6x8xf32>
  %e = convc.transpose %d perm [0, 3, 1, 2] : (tensor<1x5x6x8xf32>) -> tensor<1x8x5x6xf32>
  %f = convc.slice %a starts [0, 0, 1, 1] steps [1, 1, 2, 1] : (!l) -> tensor<1x5x3x2xf32>
  %g = convc.transpose %f perm [0, 3, 1, 2] : (tensor<1x5x3x2xf32>) -> tensor<1x2x5x3xf32>
  %h = convc.pad edge %a pads [0, 1, 0, 0, 0, 1, 0, 0] value 0.0 : f64 : (!l) -> tensor<1x7x6x4xf32>
  %i = convc.cast %h : (tensor<1x7x6x4xf32>) -> tensor<1x7x6x4xf64>
  %j = convc.transpose %i perm [0, 3, 1, 2] : (tensor<1x7x6x4xf64>) -> tensor<1x4x7x6xf64>
  %k = convc.softmax %a axes [3] : (!l) -> !l
  %l = convc.transpose %k perm [0, 3, 1, 2] : (!l) -> !c
  %m = convc.resize %a mode "linear" coordinates "half_pixel" nearest "floor"
    scales [1.0 : f64, 2.0 : f64, 1.0 : f64, 1.0 : f64] roi [] cubic_coeff -0.75 : f64 extrapolation 0.0 : f64
    exclude_outside 0 antialias 0 : (!l) -> tensor<1x10x6x4xf32>
  %n = convc.transpose %m perm [0, 3, 1, 2] : (tensor<1x10x6x4xf32>) -> tensor<1x4x10x6xf32>
  %o = convc.arg_reduce max %a axis 3 keepdims : (!l) -> tensor<1x5x6x1xi64>
  %p = convc.transpose %o perm [0, 3, 1, 2] : (tensor<1x5x6x1xi64>) -> tensor<1x1x5x6xi64>
  func.return %e, %g, %j, %l, %n, %p : tensor<1x8x5x6xf32>, tensor<1x2x5x3xf32>, tensor<1x4x7x6xf64>, !c,
    tensor<1x4x10x6xf32>, tensor<1x1x5x6xi64>
}
// CHECK:      @main
// CHECK-NOT:  transpose
// CHECK-DAG:  %e = convc.concat %x, %z axis 1
// CHECK-DAG:  %g = convc.slice %x starts [0, 1, 0, 1] steps [1, 1, 1, 2]
// CHECK-DAG:  convc.pad edge %x pads [0, 0, 1, 0, 0, 0, 1, 0]
// CHECK-DAG:  %l = convc.softmax %x axes [1]
// CHECK-DAG:  %n = convc.resize %x {{.*}} scales [1.000000e+00 : f64, 1.000000e+00 : f64, 2.000000e+00 : f64
// CHECK-DAG:  %p = convc.arg_reduce max %x axis 1 keepdims

// -----
// where a branch needs NHWC, no transpose is added: the residual sum reads the one that is there
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
func.func @main(%x: !c, %z: !l) -> (!l, !l) {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %b = convc.elementwise relu(%a) : (!l) -> !l
  %d = convc.elementwise mul(%a, %z) : (!l, !l) -> !l
  func.return %b, %d : !l, !l
}
// CHECK:      %a = convc.transpose %x perm [0, 2, 3, 1]
// CHECK-NEXT: %b = convc.elementwise relu(%a)
// CHECK-NEXT: %d = convc.elementwise mul(%a, %z)
// CHECK-NEXT: func.return

// -----
// one operand that is in NHWC for good is transposed instead of the sum
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
func.func @main(%x: !c, %z: !l) -> !c {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %d = convc.elementwise add(%a, %z) : (!l, !l) -> !l
  %e = convc.elementwise relu(%d) : (!l) -> !l
  %y = convc.transpose %e perm [0, 3, 1, 2] : (!l) -> !c
  func.return %y : !c
}
// CHECK:      @main
// CHECK-NEXT: [[Z:%.*]] = convc.transpose %z perm [0, 3, 1, 2]
// CHECK-NEXT: [[D:%.*]] = convc.elementwise add(%x, [[Z]])
// CHECK-NEXT: %y = convc.elementwise relu([[D]])

// -----
// reshapes of any kind go below functions of one operand and scalars: x keeps its epilogue
!t = tensor<2x4x5xf32>
func.func @main(%x: !t) -> tensor<2x20xf32> {
  %c = convc.constant 2.0 : f64 : tensor<f32>
  %a = convc.reshape %x : (!t) -> tensor<2x20xf32>
  %b = convc.elementwise mul(%a, %c) : (tensor<2x20xf32>, tensor<f32>) -> tensor<2x20xf32>
  %y = convc.elementwise relu(%b) : (tensor<2x20xf32>) -> tensor<2x20xf32>
  func.return %y : tensor<2x20xf32>
}
// CHECK:      [[B:%.*]] = convc.elementwise mul(%x, %c)
// CHECK-NEXT: [[R:%.*]] = convc.elementwise relu([[B]])
// CHECK-NEXT: %y = convc.reshape [[R]]

// -----
// axes of one element that come and go cancel across a function
!t = tensor<1x4x9xf32>
!u = tensor<1x4x1x9xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @w : tensor<4x1x1xf32>
  %a = convc.reshape %x : (!t) -> !u
  %b = convc.elementwise prelu(%a, %w) : (!u, tensor<4x1x1xf32>) -> !u
  %p = convc.pad constant %b pads [0, 0, 0, 1, 0, 0, 0, 0] value 0.0 : f64 : (!u) -> tensor<1x4x1x10xf32>
  %s = convc.slice %p starts [0, 0, 0, 1] steps [1, 1, 1, 1] : (tensor<1x4x1x10xf32>) -> !u
  %y = convc.reshape %s : (!u) -> !t
  func.return %y : !t
}
// CHECK:      @main
// CHECK-NOT:  reshape
// CHECK:      convc.elementwise prelu(%x
// CHECK-NEXT: convc.pad
// CHECK-NEXT: %y = convc.slice

// -----
// padding an axis that a reshape has inserted stays below it
!t = tensor<1x4x9xf32>
!u = tensor<1x4x1x9xf32>
func.func @main(%x: !t) -> tensor<1x4x3x9xf32> {
  %a = convc.reshape %x : (!t) -> !u
  %y = convc.pad constant %a pads [0, 0, 1, 0, 0, 0, 1, 0] value 0.0 : f64 : (!u) -> tensor<1x4x3x9xf32>
  func.return %y : tensor<1x4x3x9xf32>
}
// CHECK:      %a = convc.reshape %x
// CHECK-NEXT: %y = convc.pad constant %a

// -----
// an operand of fewer axes is transposed as what it broadcasts to
!c = tensor<1x4x5x6xf32>
!l = tensor<1x5x6x4xf32>
!h = tensor<6x2xf32>
func.func @main(%x: !c, %g: !h, %h: !h) -> !c {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (!c) -> !l
  %b = convc.concat %g, %h axis 1 : (!h, !h) -> tensor<6x4xf32>
  %d = convc.elementwise add(%a, %b) : (!l, tensor<6x4xf32>) -> !l
  %y = convc.transpose %d perm [0, 3, 1, 2] : (!l) -> !c
  func.return %y : !c
}
// CHECK:      %b = convc.concat %g, %h axis 1
// CHECK-NEXT: [[T:%.*]] = convc.transpose %b perm [1, 0]
// CHECK-NEXT: [[R:%.*]] = convc.reshape [[T]] : (tensor<4x6xf32>) -> tensor<1x4x1x6xf32>
// CHECK-NEXT: %y = convc.elementwise add(%x, [[R]])
