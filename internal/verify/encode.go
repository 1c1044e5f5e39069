package verify

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"assay/internal/publisher"
)

// encoded is an outcome as it is kept between runs: what the tables of this package can give back is left
// out. It is read only by the version of the checks that wrote it.
type encoded struct {
	Verdict          Verdict              `json:"v"`
	Statuses         string               `json:"s"` // one letter for each check
	Rows             []encodedRow         `json:"r,omitempty"`
	Publisher        *publisher.Publisher `json:"p,omitempty"`
	Bound            string               `json:"b"`
	RepositoryAbsent bool                 `json:"ra,omitzero"`
	TimeUnknown      bool                 `json:"tu,omitzero"`
	RegistrySigns    bool                 `json:"rs,omitzero"`
	Attested         bool                 `json:"a,omitzero"`
	Locked           bool                 `json:"l,omitzero"`
	Integrity        string               `json:"i,omitzero"`
	Published        time.Time            `json:"t,omitzero"`
	Further          []string             `json:"f,omitempty"`
}

type encodedRow struct {
	Check    int    `json:"c"`
	Reason   string `json:"r"`
	Message  string `json:"m,omitzero"`
	Expected string `json:"e,omitzero"`
	Actual   string `json:"a,omitzero"`
}

var letters = map[Status]byte{Pass: 'p', Fail: 'f', Error: 'e', Skip: 's'}

// Encode returns the outcome in a compact form for [Decode].
func (o *Outcome) Encode() ([]byte, error) {
	e := encoded{
		Verdict: o.Verdict, Publisher: o.Publisher, Bound: o.Bound, RepositoryAbsent: o.RepositoryAbsent, TimeUnknown: o.TimeUnknown,
		RegistrySigns: o.RegistrySigns, Attested: o.Attested, Locked: o.Locked, Integrity: o.Integrity, Published: o.Published, Further: o.Further,
	}
	if len(o.Checks) != len(checks) {
		return nil, fmt.Errorf("outcome has %d checks, not %d", len(o.Checks), len(checks))
	}
	statuses := make([]byte, len(checks))
	for i, r := range o.Checks {
		statuses[i] = letters[r.Status]
		plain := sentence(r.ID, outcome{status: r.Status, reason: r.Reason})
		if r.Reason == "" && r.Message == plain && r.Expected == "" && r.Actual == "" {
			continue
		}
		row := encodedRow{Check: i, Reason: r.Reason, Expected: r.Expected, Actual: r.Actual}
		if r.Message != plain {
			row.Message = r.Message
		}
		e.Rows = append(e.Rows, row)
	}
	e.Statuses = string(statuses)
	return json.Marshal(&e)
}

// Decode reads what [Outcome.Encode] wrote. What does not fit is an error, and the caller verifies again.
func Decode(data []byte) (*Outcome, error) {
	var e encoded
	if err := json.Unmarshal(data, &e, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("reading a kept outcome: %w", err)
	}
	if len(e.Statuses) != len(checks) {
		return nil, fmt.Errorf("reading a kept outcome: %d checks, not %d", len(e.Statuses), len(checks))
	}
	o := &Outcome{
		Verdict: e.Verdict, Publisher: e.Publisher, Bound: e.Bound, RepositoryAbsent: e.RepositoryAbsent, TimeUnknown: e.TimeUnknown,
		RegistrySigns: e.RegistrySigns, Attested: e.Attested, Locked: e.Locked, Integrity: e.Integrity, Published: e.Published, Further: e.Further, Checks: make([]Result, len(checks)),
	}
	for i, c := range checks {
		r := Result{ID: c.id}
		for status, letter := range letters {
			if letter == e.Statuses[i] {
				r.Status = status
			}
		}
		if r.Status == "" {
			return nil, fmt.Errorf("reading a kept outcome: unknown status %q", e.Statuses[i])
		}
		r.Message = holds[c.id]
		o.Checks[i] = r
	}
	for _, row := range e.Rows {
		if row.Check < 0 || row.Check >= len(checks) {
			return nil, fmt.Errorf("reading a kept outcome: check %d", row.Check)
		}
		r := &o.Checks[row.Check]
		r.Reason, r.Expected, r.Actual, r.Message = row.Reason, row.Expected, row.Actual, row.Message
		if r.Message == "" {
			r.Message = sentence(r.ID, outcome{status: r.Status, reason: r.Reason})
		}
	}
	return o, nil
}
