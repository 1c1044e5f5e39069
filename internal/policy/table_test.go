package policy

import (
	"fmt"
	"strings"
	"testing"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// evidences are the columns of the table: what was found of left@1.0.0, from good to bad.
var evidences = []string{"provenance", "another's", "signed", "unsigned", "unchecked", "invalid"}

// numbered is acme's publisher with its ids.
func numbered() *publisher.Publisher {
	p := acme()
	p.RepositoryID, p.OwnerID = "11", "22"
	p.SignerRepository, p.SignerWorkflow, p.SignerRef = p.Repository, p.Workflow, p.Ref
	return p
}

func foundAs(evidence string) *verify.Outcome {
	o := outcome(verify.Verdict(evidence))
	switch o.RegistrySigns = true; evidence {
	case "provenance":
		o.Publisher = numbered()
	case "another's":
		o = outcome(verify.Provenance)
		o.Publisher = numbered()
		o.Publisher.Repository, o.Publisher.RepositoryID, o.Publisher.Owner, o.Publisher.OwnerID = "https://github.com/mallory/left", "66", "https://github.com/mallory", "67"
	}
	return o
}

// lockedAs is assay.lock with left pinned.
func lockedAs(how string) *Lock {
	pin := Pin{Line: "1", Versions: []string{"0.9.0"}, At: 4}
	accepted, _ := Accept(numbered(), npm.ID{Name: "left", Version: "1.0.0"})
	accepted.At = 7
	switch how {
	case "no lock":
		return nil
	case "not pinned":
		return &Lock{File: "assay.lock", Pins: map[string][]Pin{}}
	case "pinned", "other line":
		pin.Floor, pin.Publishers = verify.Provenance, []Pinned{accepted}
		if how == "other line" {
			pin.Line = "2"
		}
	case "weak":
		accepted.RepositoryID, accepted.OwnerID = "", ""
		pin.Floor, pin.Publishers = verify.Provenance, []Pinned{accepted}
	case "signed":
		pin.Floor = verify.Signed
	case "unsigned":
		pin.Floor = verify.Unsigned
	default:
		panic(how)
	}
	return &Lock{File: "assay.lock", Pins: map[string][]Pin{"left": {pin}}}
}

// TestTable is what becomes of evidence (columns) under pins and policies (rows): the decision, and a rule that is
// behind it. "allow" stands for no finding but notes.
func TestTable(t *testing.T) {
	const (
		demand   = "publishers: [{packages: left, repository: acme/left}]\n"
		critical = "critical: [{packages: [left], require: provenance}]\n"
		waiver   = "waivers: [{package: left, rule: %s, reason: r, by: b, until: %s}]\n"
	)
	waive := func(rule, until string) string { return fmt.Sprintf(waiver, rule, until) }
	decisions := 0
	for _, tt := range []struct{ pin, policy, want string }{
		{"no lock", "", "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"not pinned", "", "warn:unpinned warn:unpinned warn:signed+unpinned deny:unsigned error:unchecked deny:invalid"},
		{"pinned", "", "allow deny:drift deny:downgrade-line deny:unsigned+downgrade-line error:unchecked+drift deny:invalid"},
		{"other line", "", "allow deny:drift warn:signed+downgrade-package deny:unsigned error:unchecked+drift deny:invalid"},
		{"weak", "", "deny:drift deny:drift deny:downgrade-line deny:unsigned+downgrade-line error:unchecked+drift deny:invalid"},
		{"signed", "", "warn:unpinned warn:unpinned warn:signed deny:unsigned+downgrade-line error:unchecked+downgrade-line deny:invalid"},
		{"unsigned", "", "warn:unpinned warn:unpinned warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "mode: observe\n", "allow allow warn:signed warn:unsigned error:unchecked deny:invalid"},
		{"pinned", "mode: observe\n", "allow warn:drift warn:signed+downgrade-line warn:unsigned+downgrade-line error:unchecked+drift deny:invalid"},
		{"no lock", "default: {signed: allow, unsigned: warn}\n", "allow allow allow warn:unsigned error:unchecked deny:invalid"},
		{"no lock", "default: {signed: deny}\n", "allow allow deny:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "default: {unchecked: warn}\n", "allow allow warn:signed deny:unsigned warn:unchecked deny:invalid"},
		{"pinned", "default: {unchecked: warn, signed: allow, unsigned: allow}\n", "allow deny:drift deny:downgrade-line deny:downgrade-line error:drift deny:invalid"},
		{"signed", "default: {unchecked: warn, signed: allow, unsigned: allow}\n", "warn:unpinned warn:unpinned allow deny:downgrade-line error:downgrade-line deny:invalid"},
		{"no lock", "default: {unchecked: deny}\n", "allow allow warn:signed deny:unsigned deny:unchecked deny:invalid"},
		{"no lock", "default: {mode: observe, signed: deny}\n", "allow allow warn:signed warn:unsigned error:unchecked deny:invalid"},
		{"no lock", critical, "allow allow deny:critical deny:unsigned+critical error:unchecked+critical deny:invalid+critical"},
		{"no lock", "mode: observe\n" + critical, "allow allow warn:signed+critical warn:unsigned+critical error:unchecked+critical deny:invalid"},
		{"no lock", "critical: [{packages: [left], require: provenance, mode: observe}]\n", "allow allow warn:signed+critical deny:unsigned error:unchecked+critical deny:invalid"},
		{"no lock", "critical: [{packages: [left], require: signed}]\n", "allow allow warn:signed deny:unsigned+critical error:unchecked+critical deny:invalid+critical"},
		{"no lock", "critical: [{packages: [right, 'left@2.*'], require: provenance}]\n", "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "critical: [{packages: [left], require: provenance, mode: observe}, {packages: ['l*'], require: signed}]\n", "allow allow warn:signed+critical deny:unsigned+critical error:unchecked+critical+critical deny:invalid+critical"},
		{"no lock", demand, "allow deny:publisher deny:publisher deny:unsigned+publisher error:unchecked+publisher deny:invalid+publisher"},
		{"no lock", "mode: observe\n" + demand, "allow warn:publisher warn:signed+publisher warn:unsigned+publisher error:unchecked+publisher deny:invalid"},
		{"no lock", "publishers: [{packages: left, repository: acme/left}, {packages: left, repository: mallory/left}]\n", "allow allow deny:publisher deny:unsigned+publisher error:unchecked+publisher deny:invalid+publisher"},
		{"no lock", "publishers: [{packages: left, repository: acme/left, event: [release]}]\n", "deny:publisher deny:publisher deny:publisher deny:unsigned+publisher error:unchecked+publisher deny:invalid+publisher"},
		{"pinned", "publishers: [{packages: left, repository: mallory/left}]\n", "deny:publisher deny:drift deny:publisher+downgrade-line deny:unsigned+publisher+downgrade-line error:unchecked+publisher+drift deny:invalid+publisher"},
		{"pinned", "drift: warn\n", "allow warn:drift deny:downgrade-line deny:unsigned+downgrade-line error:unchecked+drift deny:invalid"},
		{"pinned", "drift: {level: deny, mode: observe}\n", "allow warn:drift deny:downgrade-line deny:unsigned+downgrade-line error:unchecked+drift deny:invalid"},
		{"pinned", "downgrade: off\ndefault: {unsigned: warn}\n", "allow deny:drift warn:signed warn:unsigned error:unchecked+drift deny:invalid"},
		{"pinned", "downgrade: {exclude: [left]}\ndefault: {unsigned: warn}\n", "allow deny:drift warn:signed warn:unsigned error:unchecked+drift deny:invalid"},
		{"pinned", "downgrade: {line: deny, mode: observe}\ndefault: {unsigned: warn}\n", "allow deny:drift warn:signed+downgrade-line warn:unsigned+downgrade-line error:unchecked+drift deny:invalid"},
		{"not pinned", "identity: {unpinned: deny}\n", "deny:unpinned deny:unpinned deny:unpinned deny:unsigned+unpinned error:unchecked deny:invalid"},
		{"not pinned", "identity: {unpinned: note}\ndefault: {signed: note}\n", "allow allow allow deny:unsigned error:unchecked deny:invalid"},
		{"other line", "identity: {unpinned: deny}\ndowngrade: no-downgrade\n", "allow deny:drift deny:downgrade-package deny:unsigned+downgrade-package error:unchecked+drift deny:invalid"},
		{"no lock", "rules: [{id: r, when: 'publisher.owner_id == \"67\"', then: deny}]\n", "allow deny:r warn:signed deny:unsigned error:unchecked+r deny:invalid"},
		{"no lock", "rules: [{id: r, when: 'verdict != \"provenance\" && direct', then: deny}]\n", "allow allow deny:r deny:unsigned+r deny:r deny:invalid+r"},
		{"no lock", "rules: [{id: r, when: 'verdict != \"provenance\"', then: deny, mode: observe}]\n", "allow allow warn:signed+r deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "rules: [{id: r, when: 'direct', then: error}]\n", "error:r error:r error:r deny:unsigned error:unchecked+r deny:invalid"},
		{"no lock", "rules: [{id: r, when: 'direct', then: note}]\n", "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "rules: [{id: r, packages: [right], when: 'direct', then: deny}]\n", "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"pinned", "rules: [{id: r, when: 'pinned.exists && publisher.owner_id != pinned.owner_id', then: deny}]\ndrift: note\n", "allow deny:r deny:downgrade-line+r deny:unsigned+downgrade-line+r error:unchecked+drift+r deny:invalid+r"},
		{"no lock", critical + waive("critical", "2027-01-01"), "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", critical + waive("critical", "2026-11-25"), "allow allow warn:signed+waiver-expired deny:unsigned error:unchecked deny:invalid"},
		{"no lock", critical + waive("critical", "2026-11-24"), "allow allow deny:critical deny:unsigned+critical error:unchecked+critical deny:invalid+critical"},
		{"no lock", waive("unsigned", "2027-01-01"), "allow allow warn:signed allow error:unchecked deny:invalid"},
		{"no lock", waive("unchecked", "2027-01-01"), "allow allow warn:signed deny:unsigned allow deny:invalid"},
		{"pinned", waive("drift", "2027-01-01"), "allow allow deny:downgrade-line deny:unsigned+downgrade-line error:unchecked deny:invalid"},
		{"pinned", waive("downgrade-line", "2027-01-01") + "default: {unsigned: warn}\n", "allow deny:drift warn:signed warn:unsigned error:unchecked+drift deny:invalid"},
		{"no lock", demand + waive("publisher", "2027-01-01"), "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "waivers: [{package: left@1.0.0, rule: invalid, reason: r, by: b, until: 2027-01-01, sha512: " + sri("a") + "}]\n", "allow allow warn:signed deny:unsigned error:unchecked allow"},
		{"no lock", "waivers: [{package: left@1.0.0, rule: invalid, reason: r, by: b, until: 2027-01-01, sha512: " + sri("b") + "}]\n", "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
		{"no lock", "waivers: [{package: left@1.0.1, rule: invalid, reason: r, by: b, until: 2027-01-01, sha512: " + sri("a") + "}]\n", "allow allow warn:signed deny:unsigned error:unchecked deny:invalid"},
	} {
		p := parse(t, tt.policy)
		want := strings.Fields(tt.want)
		var got []string
		for _, evidence := range evidences {
			s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: foundAs(evidence), Lock: lockedAs(tt.pin), Now: now, Integrity: sri("a"), Path: []string{"app", "left"}, Direct: true}
			d, findings := p.Decide(s, Filter{})
			decisions++
			var rules []string
			for _, f := range findings {
				if Decision(f.Level) == d {
					rules = append(rules, f.Rule)
				}
			}
			one := string(d)
			if len(rules) > 0 {
				one += ":" + strings.Join(rules, "+")
			}
			got = append(got, one)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%-10s %q\n got %s\nwant %s", tt.pin, tt.policy, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
	if decisions < 150 {
		t.Errorf("only %d decisions", decisions)
	}
}
