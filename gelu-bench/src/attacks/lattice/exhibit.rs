pub fn exhibit() {}
