package report

import (
	"io"

	"assay/internal/policy"
)

// A gitlabIssue is one element of GitLab's code quality report (docs.gitlab.com, Code Quality, "Code Quality report
// format").
type gitlabIssue struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"`
	Location    gitlabLocation `json:"location"`
}

type gitlabLocation struct {
	Path  string `json:"path"`
	Lines struct {
		Begin int `json:"begin"`
	} `json:"lines"`
}

// maxGitLab is how many issues are written: a merge request shows 200 at most, and 100 MB is the limit for a report.
const maxGitLab = 10_000

// WriteGitLab writes what is to be told of packages as GitLab's code quality report, the gravest first: denied is
// critical, undecided major, let through with a warning minor, the rest info. The path is from the root of the
// repository. Fingerprints are those of [WriteSARIF]. It returns the error of w.
func WriteGitLab(w io.Writer, r *Report, o TextOptions) error {
	list := []gitlabIssue{}
	for _, x := range results(r, o) {
		if len(list) == maxGitLab {
			break
		}
		text := x.sentence()
		if x.issue.rule != "" {
			text += " (by the rule at " + x.issue.rule + ")"
		}
		if x.next.text != "" {
			text += ". Next: " + x.next.text
			if x.next.command != "" {
				text += " " + x.next.typed(o.Flags)
			}
		}
		issue := gitlabIssue{
			Description: cut(text, maxSARIFMessage), CheckName: cut(x.rule, maxSARIFName), Fingerprint: x.fingerprint,
			Severity: map[policy.Level]string{policy.Deny: "critical", policy.Error: "major", policy.Warn: "minor"}[x.level],
		}
		if issue.Severity == "" {
			issue.Severity = "info"
		}
		issue.Location.Path = cut(x.at.file, 1000)
		issue.Location.Lines.Begin = x.at.line
		list = append(list, issue)
	}
	return writeCompact(w, list)
}
