"""Jets carry exact derivatives: held against central differences of the same formula on plain arrays."""

import numpy as np
import pytest

from analysis.laws import jets

FORMULAS = {
    "products and quotients": lambda x, y, z: x * y / z + 2.0 / y - 3.0,
    "powers": lambda x, y, z: x**y + 2.0**z + y**2.0,
    "logaddexp": lambda x, y, z: jets.logaddexp(x, 2 * y, z * x, 0.3),
    "softplus": lambda x, y, z: jets.softplus(x * y - z),
    "expit": lambda x, y, z: jets.expit(x - y * z),
    "log(1 - e^-x)": lambda x, y, z: jets.log_one_minus_exp(x * y + z),
    "arrays on both sides": lambda x, y, z: np.array([1.0, 2.0]) * x - y / np.array([3.0, 4.0]) + (np.array([1.0, 5.0]) - z),
}
AT = np.array([[0.7, 1.3, 0.4], [1.9, 0.6, 2.2]])


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_match_differences(name: str) -> None:
    formula, step = FORMULAS[name], 1e-4

    def value(theta: np.ndarray) -> np.ndarray:
        return np.broadcast_to(formula(*theta.T[..., None]), (len(theta), 2))

    jet = formula(*jets.coordinates(AT))
    np.testing.assert_allclose(np.broadcast_to(jet.value, (2, 2)), value(AT), rtol=1e-14)
    unit = step * np.eye(3)
    hessian = np.zeros((1, 3, 3, 1)) if jet.hessian is None else jet.hessian
    for i in range(3):
        slope = (value(AT + unit[i]) - value(AT - unit[i])) / (2 * step)
        np.testing.assert_allclose(np.broadcast_to(jet.gradient[:, i], (2, 2)), slope, rtol=1e-6, atol=1e-8)
        for j in range(3):
            corners = [value(AT + a * unit[i] + b * unit[j]) * a * b for a in (1, -1) for b in (1, -1)]
            curvature = sum(corners) / (4 * step**2)
            np.testing.assert_allclose(np.broadcast_to(hessian[:, i, j], (2, 2)), curvature, rtol=1e-5, atol=1e-6)


def test_nothing_overflows_in_the_tails() -> None:
    far = np.array([[-800.0], [800.0]])
    for function in (jets.softplus, jets.expit):
        jet = function(jets.coordinates(far)[0])
        assert np.isfinite(jet.value).all()
        assert np.isfinite(jet.gradient).all()
        assert np.isfinite(jet.hessian).all()
    assert jets.logaddexp(800.0, 900.0) == pytest.approx(900.0)
