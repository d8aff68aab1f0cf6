"""The closed loop, told over the whole product: corrections, wrong labels, a false friend."""
