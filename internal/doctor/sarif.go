package doctor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// The types of SARIF 2.1.0 that GitHub's code scanning reads.
// Source: OASIS SARIF 2.1.0; docs.github.com, SARIF support for code scanning.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		Results    []sarifResult `json:"results"`
		ColumnKind string        `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		SemanticVersion string      `json:"semanticVersion"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string          `json:"id"`
		Name             string          `json:"name"`
		ShortDescription sarifText       `json:"shortDescription"`
		FullDescription  sarifText       `json:"fullDescription"`
		Help             sarifText       `json:"help"`
		Default          sarifLevel      `json:"defaultConfiguration"`
		Properties       sarifProperties `json:"properties"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifProperties struct {
		Tags      []string `json:"tags"`
		Severity  string   `json:"security-severity"`
		Precision string   `json:"precision"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				StartLine int `json:"startLine"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
)

var (
	sarifLevels = map[Level]string{Error: "error", Warn: "warning", Info: "note"}
	severities  = map[Level]string{Error: "8.0", Warn: "5.0", Info: "2.0"}
)

// WriteSARIF writes the report as SARIF 2.1.0. version is Assay's. A finding's fingerprint does not depend on its line.
func (r *Report) WriteSARIF(w io.Writer, version string) error {
	run := sarifRun{ColumnKind: "utf16CodeUnits", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "assay doctor", SemanticVersion: version}
	for _, rule := range rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: rule.ID, Name: pascal(rule.ID), ShortDescription: sarifText{Text: rule.Title}, FullDescription: sarifText{Text: rule.Why},
			Help:       sarifText{Text: rule.Why + "\n\n" + rule.Fix, Markdown: rule.Why + "\n\n```\n" + rule.Fix + "\n```"},
			Default:    sarifLevel{sarifLevels[rule.Level]},
			Properties: sarifProperties{Tags: []string{"security", "supply-chain"}, Severity: severities[rule.Level], Precision: "high"},
		})
	}
	same := map[string]int{}
	for _, f := range r.Findings {
		base := strings.Join([]string{f.Rule, f.File, f.Job, f.Package, f.Message}, "\x00")
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", base, same[base]))
		same[base]++
		result := sarifResult{RuleID: f.Rule, RuleIndex: ruleIndex(f.Rule), Level: sarifLevels[f.Level],
			Message:      sarifText{Text: f.Message + ". " + f.Why},
			Fingerprints: map[string]string{"assay/v1": hex.EncodeToString(sum[:16])}}
		var l sarifLocation
		l.Physical.Artifact.URI = (&url.URL{Path: f.File}).EscapedPath()
		l.Physical.Region.StartLine = f.Line
		result.Locations = []sarifLocation{l}
		run.Results = append(run.Results, result)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}); err != nil {
		return fmt.Errorf("writing SARIF: %w", err)
	}
	return nil
}

// pascal writes a rule's ID as the name that SARIF wants: "TokenInFile".
func pascal(id string) string {
	var b strings.Builder
	for _, word := range strings.Split(id, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// WriteJSON writes the report as it stands.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(true)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
