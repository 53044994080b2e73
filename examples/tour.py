"""The network that docs/tour.md follows through the compiler: one of each thing that a residual network has.

convc build examples/tour.py:model
"""

from convc import dsl


def norm(name: str) -> dsl.BatchNormalization:
    return dsl.BatchNormalization(beta_initializer="random_normal", moving_mean_initializer="random_normal", name=name)


image = dsl.Input((32, 32, 3), name="image")
x = dsl.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(image)
x = dsl.Conv2D(32, 3, strides=2, use_bias=False, name="stem")(x)
x = skip = dsl.Activation("silu", name="stem_silu")(norm("stem_norm")(x))
x = dsl.Conv2D(32, 3, padding="same", use_bias=False, name="block")(x)
x = dsl.Add(name="join")([norm("block_norm")(x), skip])
x = dsl.ReLU(name="join_relu")(x)
x = dsl.MaxPooling2D(2, name="shrink")(x)
x = dsl.GlobalAveragePooling2D(name="average")(x)
x = dsl.Dense(10, activation="softmax", name="classify")(x)
model = dsl.Model(image, x, name="tour")
