// RUN: convc opt %s -p canonicalise | filecheck %s
// an average pool over everything, and a max pool that also sees padding => reduce
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> (tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>) {
  %a = convc.pool average %x kernel [6, 6] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1]
    : (!t) -> tensor<1x4x1x1xf32>
  %b = convc.pool max %x kernel [7, 7] strides [3, 3] pads [0, 0, 1, 1] dilations [1, 1]
    : (!t) -> tensor<1x4x1x1xf32>
  %c = convc.pool average %x kernel [7, 7] strides [3, 3] pads [0, 0, 1, 1] dilations [1, 1]
    : (!t) -> tensor<1x4x1x1xf32>
  func.return %a, %b, %c : tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>
}
// CHECK:      %a = convc.reduce mean %x axes [2, 3] keepdims
// CHECK-NEXT: %b = convc.reduce max %x axes [2, 3] keepdims
// CHECK-NEXT: func.return %a, %b, %a

// -----
// padding that counts, a window that moves: a pool stays; one of single elements is nothing
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> (tensor<1x4x1x1xf32>, tensor<1x4x2x1xf32>, !t) {
  %a = convc.pool average %x kernel [7, 7] strides [1, 1] pads [0, 0, 1, 1] dilations [1, 1] count_include_pad
    : (!t) -> tensor<1x4x1x1xf32>
  %b = convc.pool average %x kernel [5, 6] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1]
    : (!t) -> tensor<1x4x2x1xf32>
  %c = convc.pool max %x kernel [1, 1] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!t) -> !t
  func.return %a, %b, %c : tensor<1x4x1x1xf32>, tensor<1x4x2x1xf32>, !t
}
// CHECK:      %a = convc.pool average
// CHECK-NEXT: %b = convc.pool average
// CHECK-NEXT: func.return %a, %b, %x

// -----
// reduce(x) => reshape(reduce keepdims(x)), likewise arg_reduce
func.func @main(%x: tensor<2x3x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xi64>) {
  %a = convc.reduce max %x axes [1] : (tensor<2x3x4xf32>) -> tensor<2x4xf32>
  %b = convc.arg_reduce max %x axis 1 : (tensor<2x3x4xf32>) -> tensor<2x4xi64>
  func.return %a, %b : tensor<2x4xf32>, tensor<2x4xi64>
}
// CHECK:      [[A:%.*]] = convc.reduce max %x axes [1] keepdims
// CHECK-NEXT: %a = convc.reshape [[A]]
// CHECK-NEXT: [[B:%.*]] = convc.arg_reduce max %x axis 1 keepdims
// CHECK-NEXT: %b = convc.reshape [[B]]

// -----
// the mean over H of the mean over W => one mean; the sum of a maximum stays
!t = tensor<2x3x4x5xf32>
func.func @main(%x: !t) -> (tensor<2x3xf32>, tensor<2x3x1x1xf32>) {
  %a = convc.reduce mean %x axes [3] : (!t) -> tensor<2x3x4xf32>
  %b = convc.reduce mean %a axes [2] : (tensor<2x3x4xf32>) -> tensor<2x3xf32>
  %c = convc.reduce max %x axes [3] keepdims : (!t) -> tensor<2x3x4x1xf32>
  %d = convc.reduce sum %c axes [2] keepdims : (tensor<2x3x4x1xf32>) -> tensor<2x3x1x1xf32>
  func.return %b, %d : tensor<2x3xf32>, tensor<2x3x1x1xf32>
}
// CHECK:      [[M:%.*]] = convc.reduce mean %x axes [2, 3] keepdims
// CHECK-NEXT: %b = convc.reshape [[M]] : (tensor<2x3x1x1xf32>) -> tensor<2x3xf32>
// CHECK-NEXT: %c = convc.reduce max %x axes [3]
// CHECK-NEXT: %d = convc.reduce sum %c axes [2]

// -----
// the mean of a flattened x => the mean of x over the axes; half of such a run stays
!t = tensor<2x6x4x5xf32>
func.func @main(%x: !t) -> (tensor<2x6x1xf32>, tensor<2x2x1xf32>, tensor<2x1x15xf32>) {
  %a = convc.reshape %x : (!t) -> tensor<2x6x20xf32>
  %b = convc.reduce mean %a axes [2] keepdims : (tensor<2x6x20xf32>) -> tensor<2x6x1xf32>
  %c = convc.reshape %x : (!t) -> tensor<2x2x60xf32>
  %d = convc.reduce mean %c axes [2] keepdims : (tensor<2x2x60xf32>) -> tensor<2x2x1xf32>
  %e = convc.reshape %x : (!t) -> tensor<2x8x15xf32>
  %f = convc.reduce mean %e axes [1] keepdims : (tensor<2x8x15xf32>) -> tensor<2x1x15xf32>
  func.return %b, %d, %f : tensor<2x6x1xf32>, tensor<2x2x1xf32>, tensor<2x1x15xf32>
}
// CHECK:      [[B:%.*]] = convc.reduce mean %x axes [2, 3] keepdims
// CHECK-NEXT: %b = convc.reshape [[B]]
// CHECK:      %d = convc.reduce mean %c axes [2]
// CHECK:      %f = convc.reduce mean %e axes [1]

// -----
// reduce(x) over axes of one element => x
!t = tensor<2x1x4xf32>
func.func @main(%x: !t) -> (!t, tensor<2x1x1xf32>, !t) {
  %a = convc.reduce max %x axes [1] keepdims : (!t) -> !t
  %b = convc.reduce l2 %x axes [1, 2] keepdims : (!t) -> tensor<2x1x1xf32>
  %c = convc.reduce l2 %x axes [1] keepdims : (!t) -> !t
  func.return %a, %b, %c : !t, tensor<2x1x1xf32>, !t
}
// CHECK:      %b = convc.reduce l2 %x axes [2] keepdims
// CHECK-NEXT: %c = convc.reduce l2 %x axes [1] keepdims
// CHECK-NEXT: func.return %x, %b, %c

// -----
// x @ w => matmul transpose_b for a weight, not for what is computed
func.func @main(%x: tensor<2x5xf32>, %y: tensor<5x3xf32>) -> (tensor<2x3xf32>, tensor<2x3xf32>) {
  %w = convc.weight @w : tensor<5x3xf32>
  %a = convc.matmul %x, %w : (tensor<2x5xf32>, tensor<5x3xf32>) -> tensor<2x3xf32>
  %b = convc.matmul %x, %y : (tensor<2x5xf32>, tensor<5x3xf32>) -> tensor<2x3xf32>
  func.return %a, %b : tensor<2x3xf32>, tensor<2x3xf32>
}
// CHECK:      [[W:%.*]] = convc.weight @w.{{.*}} : tensor<3x5xf32>
// CHECK-NEXT: %a = convc.matmul %x, [[W]] transpose_b
// CHECK-NEXT: %b = convc.matmul %x, %y :

// -----
// x @ transpose(w) => matmul transpose_b(x, w)
func.func @main(%x: tensor<2x5xf32>) -> tensor<2x3xf32> {
  %w = convc.weight @w : tensor<3x5xf32>
  %t = convc.transpose %w perm [1, 0] : (tensor<3x5xf32>) -> tensor<5x3xf32>
  %a = convc.matmul %x, %t : (tensor<2x5xf32>, tensor<5x3xf32>) -> tensor<2x3xf32>
  func.return %a : tensor<2x3xf32>
}
// CHECK:      @main
// CHECK-NEXT: [[W:%.*]] = convc.weight @{{.*}} : tensor<3x5xf32>
// CHECK-NEXT: %a = convc.matmul %x, [[W]] transpose_b

// -----
// matmul(reshape(transpose(x)), w) => matmul(reshape(x), w'): NHWC flattened into a dense layer
func.func @main(%x: tensor<2x3x4x5xf32>) -> tensor<2x7xf32> {
  %w = convc.weight @w : tensor<60x7xf32>
  %t = convc.transpose %x perm [0, 2, 3, 1] : (tensor<2x3x4x5xf32>) -> tensor<2x4x5x3xf32>
  %f = convc.reshape %t : (tensor<2x4x5x3xf32>) -> tensor<2x60xf32>
  %a = convc.matmul %f, %w : (tensor<2x60xf32>, tensor<60x7xf32>) -> tensor<2x7xf32>
  func.return %a : tensor<2x7xf32>
}
// CHECK:      @main
// CHECK-NEXT: [[F:%.*]] = convc.reshape %x
// CHECK-NEXT: [[W:%.*]] = convc.weight @{{.*}} : tensor<7x60xf32>
// CHECK-NEXT: %a = convc.matmul [[F]], [[W]] transpose_b
