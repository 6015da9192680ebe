"""Names of classes in snake_case, against the functions of the Kerases, restated by hand."""

from __future__ import annotations

import pytest

from dwconv.naming import snake_case

# What `to_snake_case` of Keras 3.15.1 and of tf_keras 2.21 return (run, not derived).
KERAS = [
    ("DepthwiseConv2D", "depthwise_conv2d", "depthwise_conv2d"),
    ("Conv2DTranspose", "conv2d_transpose", "conv2d_transpose"),
    ("MyNet", "my_net", "my_net"),
    ("My_Net", "my__net", "my__net"),
    ("_Net", "__net", "private__net"),
    ("_MyNet", "__my_net", "private__my_net"),
    ("SSD_Net300", "ssd__net300", "ssd__net300"),
    ("U2Net", "u2_net", "u2_net"),
    ("HTTPServer", "http_server", "http_server"),
    ("aB", "a_b", "a_b"),
    ("Net>Head", "net_head", "net>_head"),
    ("GELU", "gelu", "gelu"),
    ("Ünet", "ünet", "ünet"),
    ("", "", ""),
]


@pytest.mark.parametrize(("name", "three", "two"), KERAS)
def test_snake_case(name: str, three: str, two: str) -> None:
    assert snake_case(name) == snake_case(name, 3) == three
    assert snake_case(name, 2) == two
