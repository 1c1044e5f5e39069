package policy

// Pin returns what is accepted of a package's release line, nil if nothing is. others says that other lines of the
// package are pinned.
func (l *Lock) Pin(name, version string) (pin *Pin, others bool) {
	if l == nil {
		return nil, false
	}
	return nil, len(l.Pins[name]) > 0
}

// pins compares the package with what the project accepted.
func (p *Policy) pins(s *Subject, add addFunc) {}
