package evidence

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// glance looks at a version document for what decides the next question: whether dist.attestations or
// dist.signatures holds anything but null. It reads each byte once, holds no tree, and nests no deeper than
// the reader's bound. It is lenient where a strict reader may differ, since asking once too often is
// harmless: a member counts wherever a name is repeated.
func glance(document []byte) traits {
	var t traits
	d := jsontext.NewDecoder(bytes.NewBuffer(document), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	err := eachMember(d, func(name string) error {
		if name != "dist" || d.PeekKind() != '{' {
			return d.SkipValue()
		}
		return eachMember(d, func(name string) error {
			if d.PeekKind() != 'n' {
				switch name {
				case "attestations":
					t |= announces
				case "signatures":
					t |= signed
				}
			}
			return d.SkipValue()
		})
	})
	if err != nil && bytes.Contains(document, []byte(`"attestations"`)) {
		t |= announces // unreadable; whoever reads it for good may see more in it
	}
	return t
}

// eachMember calls fn at the value of each member of the object that comes next; fn must consume it.
func eachMember(d *jsontext.Decoder, fn func(name string) error) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := fn(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}
