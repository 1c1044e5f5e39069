package policy

// ratchet compares the package with what the base held.
func (p *Policy) ratchet(s *Subject, add addFunc) {}
