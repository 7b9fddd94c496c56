package httpapi

func (v *version1) examples() {}
