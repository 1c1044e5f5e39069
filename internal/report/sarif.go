package report

import (
	"cmp"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/policy"
	"assay/internal/verify"
)

// What GitHub takes of a SARIF file: docs.github.com, "SARIF support for code scanning". It refuses one of more
// than 10 MB, compressed, or of more than 25,000 results, and shows the 5,000 gravest.
const (
	maxSARIF        = 9_500_000 // bytes of results, not compressed, so that no compression has to be hoped for
	maxSARIFResults = 25_000
	maxSARIFMessage = 1000 // bytes, so that 5,000 results fit in any case
	maxSARIFName    = 255
)

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Invocations []sarifInvocation         `json:"invocations"`
		Bases       map[string]sarifBase      `json:"originalUriBaseIds"`
		ColumnKind  string                    `json:"columnKind"`
		Properties  map[string]jsontext.Value `json:"properties"`
		Results     []jsontext.Value          `json:"results"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifBase struct {
		Description sarifText `json:"description"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		ExitCode      int                 `json:"exitCode"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Descriptor sarifID   `json:"descriptor"`
		Level      string    `json:"level"`
		Message    sarifText `json:"message"`
	}
	sarifID struct {
		ID string `json:"id"`
	}
	sarifRule struct {
		ID      string    `json:"id"`
		Name    string    `json:"name,omitempty"`
		Short   sarifText `json:"shortDescription"`
		Full    sarifText `json:"fullDescription"`
		Help    sarifText `json:"help"`
		Default struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
		Properties sarifRuleProperties `json:"properties"`
	}
	sarifRuleProperties struct {
		Tags      []string `json:"tags"`
		Precision string   `json:"precision"`
		Severity  string   `json:"security-severity"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI  string `json:"uri"`
				Base string `json:"uriBaseId,omitempty"`
			} `json:"artifactLocation"`
			Region sarifRegion `json:"region"`
		} `json:"physicalLocation"`
		Logical []sarifLogical `json:"logicalLocations"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

// WriteSARIF writes what is to be told of packages as one SARIF 2.1.0 log (OASIS, errata 01), as GitHub's code
// scanning takes it: one result for each check that failed or could not be carried out and each rule that spoke,
// at the line of the lockfile, filed under the ID of the check or the rule. What could not be carried out is filed
// under "unchecked". Denied and undecided is an error, let through with a warning a warning, the rest a note.
//
// Results are in the order of their gravity, as many as a forge accepts; a notification tells how many are left
// out. The same report gives the same bytes, and a result the same fingerprint in every run. It returns the error
// of w.
func WriteSARIF(w io.Writer, r *Report, o TextOptions) error {
	found := results(r, o)
	var run sarifRun
	run.Tool.Driver = sarifDriver{Name: "Assay", SemanticVersion: o.Version}
	run.Bases = map[string]sarifBase{"%SRCROOT%": {sarifText{"the root of the repository"}}}
	run.ColumnKind = "utf16CodeUnits"
	run.Results = []jsontext.Value{}
	index := map[string]int{}
	for _, id := range append(verify.IDs(), policyRules...) {
		index[id] = len(index)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(id))
	}
	size := 0
	for i := range found {
		x := &found[i]
		id := cut(x.rule, maxSARIFName)
		at, ok := index[id]
		if !ok {
			at = len(index)
			index[id] = at
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(id))
		}
		value, err := json.Marshal(newSARIFResult(x, id, at, o), json.Deterministic(true))
		if err != nil {
			return err
		}
		if size += len(value); size > maxSARIF || i == maxSARIFResults {
			run.Results = run.Results[:i]
			break
		}
		run.Results = append(run.Results, value)
	}
	invocation := sarifInvocation{Successful: true, ExitCode: r.Exit()}
	notify := func(level, code, text string) {
		invocation.Notifications = append(invocation.Notifications, sarifNotification{sarifID{cut(Escape(code), maxSARIFName)}, level, sarifText{sarifMessage(text)}})
	}
	if n := len(found) - len(run.Results); n > 0 {
		notify("warning", "results-left-out", plural(n, "result", "results")+" less grave than these "+verb(n, "is", "are")+" left out, since forges take no more; the JSON report has all")
	}
	if r.Trust.Stale != "" {
		notify("warning", r.Trust.Stale, "the trust root could not be refreshed; the last one that verified is used")
	}
	for i, n := range r.Notes {
		if i == 1000 {
			break
		}
		notify("note", n.Code, Escape(n.Message))
	}
	run.Invocations = []sarifInvocation{invocation}
	summary, err := json.Marshal(r.Summary)
	if err != nil {
		return err
	}
	run.Properties = map[string]jsontext.Value{"summary": summary}
	return writeCompact(w, sarifLog{sarifSchema, "2.1.0", []sarifRun{run}})
}

// writeCompact writes v as JSON on one line, what cannot be seen as escape sequences.
func writeCompact(w io.Writer, v any) error {
	text, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	_, err = w.Write(append(appendShown(make([]byte, 0, len(text)+64), string(text)), '\n'))
	return err
}

func newSARIFResult(x *result, id string, index int, o TextOptions) *sarifResult {
	text := x.sentence() + "."
	for _, line := range x.details(o.Flags) {
		text += "\n" + line
	}
	v := &sarifResult{
		RuleID: id, RuleIndex: index, Level: sarifLevel(x.level), Message: sarifText{sarifMessage(text)},
		Fingerprints: map[string]string{
			"primaryLocationLineHash": x.fingerprint, // the only one that GitHub looks at
			"assay/v1":                x.fingerprint,
		},
		Properties: map[string]string{"package": cut(x.entry.spec, maxSARIFName), "decision": Escape(string(x.entry.decision)), "check": cut(x.what, maxSARIFName)},
	}
	if x.reason != "" {
		v.Properties["reason"] = cut(x.reason, maxSARIFName)
	}
	if x.entry.verdict != "" {
		v.Properties["verdict"] = Escape(string(x.entry.verdict))
	}
	var l sarifLocation
	l.Physical.Artifact.URI, l.Physical.Artifact.Base = sarifURI(x.at.file)
	// The line as a whole: it ends where the next begins.
	l.Physical.Region = sarifRegion{StartLine: x.at.line, StartColumn: 1, EndLine: x.at.line + 1, EndColumn: 1}
	l.Logical = []sarifLogical{{cut(cmp.Or(x.purl, x.entry.spec, "package"), maxSARIFName), "package"}}
	v.Locations = []sarifLocation{l}
	return v
}

// sarifURI is a file as SARIF names it: relative to the base that the second result names, or, where it lies
// outside the repository, a file URL.
func sarifURI(file string) (uri, base string) {
	file = cut(strings.ToValidUTF8(file, "\ufffd"), 1000)
	if path.IsAbs(file) {
		return (&url.URL{Scheme: "file", Path: file}).String(), ""
	}
	return (&url.URL{Path: file}).String(), "%SRCROOT%"
}

func sarifLevel(l policy.Level) string {
	switch l {
	case policy.Deny, policy.Error:
		return "error"
	case policy.Warn:
		return "warning"
	}
	return "note"
}

// sarifMessage is escaped text as a plain text message, in which braces stand for arguments and brackets for links
// (SARIF 2.1.0, sections 3.11.5 and 3.11.6).
func sarifMessage(text string) string {
	return sarifPlain.Replace(cut(text, maxSARIFMessage))
}

var sarifPlain = strings.NewReplacer("{", "{{", "}", "}}", `\`, `\\`, "[", `\[`, "]", `\]`)

// newSARIFRule describes a check or a rule.
func newSARIFRule(id string) sarifRule {
	about, known := ruleAbout[id]
	if !known {
		about = ruleWords{"5.0", "A rule of the project's policy.", "The project's policy names this rule; its message says why it spoke."}
	}
	doc := "Assay's docs/policy.md, section Rules"
	rule := sarifRule{ID: id, Name: sarifName(id), Short: sarifText{about.short}, Full: sarifText{about.full}}
	rule.Default.Level = "warning"
	rule.Properties = sarifRuleProperties{Tags: []string{"npm", "security", "supply-chain"}, Precision: "high", Severity: about.severity}
	if slices.Contains(verify.IDs(), id) {
		doc = "Assay's docs/checks.md#" + id
		rule.Default.Level = "error"
		rule.Properties.Tags = append(rule.Properties.Tags, "check")
		rule.Properties.Precision = "very-high"
	}
	rule.Help = sarifText{about.full + " What to do about it stands with each result; every reason is told in " + doc + "."}
	return rule
}

// sarifName is an ID in the form that SARIF recommends for names: "LockfileIntegrity". It is "" where that would be
// the ID again, which SARIF does not like.
func sarifName(id string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(id, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9') }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	if strings.EqualFold(b.String(), id) {
		return ""
	}
	return b.String()
}
