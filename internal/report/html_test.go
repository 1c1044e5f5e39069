package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"assay/internal/policy"
	"assay/internal/verify"
)

var pagesDir = flag.String("pages", "", "write the pages that a browser is to look at into this `DIR`")

// TestPages writes pages for e2e/page, which opens them in a browser.
func TestPages(t *testing.T) {
	if *pagesDir == "" {
		t.Skip("no -pages DIR, so no pages are written")
	}
	all := samples()
	all["big"] = wide(bigReport(5000), 3)
	for name, r := range all {
		if err := os.WriteFile(filepath.Join(*pagesDir, name+".html"), pageOf(t, r, TextOptions{Subject: subject}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func samples() map[string]*Report {
	return map[string]*Report{
		"grown": grown(), "clean": clean(), "ruled": ruled(), "outage": outage(), "empty": New(),
		"hostile": hostile(), "injected": injected(),
	}
}

func pageOf(t testing.TB, r *Report, o TextOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// injections are texts as an attacker would like it to reach a page.
var injections = []string{
	`<img src=x onerror="window.owned=1">`,
	`"><script>window.owned=1</script>`,
	`</script><script>window.owned=1</script>`,
	`</style><style>*{display:none}</style>`,
	`</title></textarea></table></details><svg onload=window.owned=1>`,
	`javascript:window.owned=1//`,
	`JaVaScRiPt:window.owned=1`,
	"java\tscript:window.owned=1",
	`data:text/html,<script>window.owned=1</script>`,
	`vbscript:x`,
	`//evil.example/x`,
	`http://evil.example/x`,
	`https://user:password@evil.example/x`,
	`https://evil.example/" onmouseover="window.owned=1`,
	"https://evil.example/\u202egpj.exe",
	`' onfocus='window.owned=1' autofocus='`,
	"` onload=window.owned=1 `",
	`{{.Style}}{{template "item"}}`,
	`<!--><script>window.owned=1</script>-->`,
	`&lt;img src=x onerror=window.owned=1&gt; &#60;script&#62;`,
	`file:///etc/passwd`,
	`#p0" onclick="window.owned=1`,
}

// injected puts them into every place of a report, graph and all.
func injected() *Report { return injectedWith(injections) }

func injectedWith(texts []string) *Report {
	r := hostileWith(texts)
	at := func(i int) string { return texts[i%len(texts)] }
	p := Project{Name: at(0), Version: at(1), File: at(2), Nodes: []Node{{Name: at(3), Package: -1, Other: -1}}}
	for i := range r.Packages {
		s := at(i)
		if i%5 == 2 {
			r.Packages[i].Verdict, r.Packages[i].Decision = verify.Verdict(s), policy.Decision(s)
			r.Packages[i].Checks = append(r.Packages[i].Checks, verify.Result{ID: s, Status: verify.Status(s), Reason: s, Message: s})
			r.Packages[i].Findings = append(r.Packages[i].Findings, policy.Finding{Rule: s, Level: policy.Level(s), Message: s, File: s})
		}
		p.Nodes = append(p.Nodes, Node{Name: s, Path: s, Package: i, Other: -1})
		p.Nodes[i/2].Edges = append(p.Nodes[i/2].Edges, Edge{Name: s, Spec: s, Kind: s, To: i + 1}, Edge{Name: s, Spec: s, Kind: s, To: -1})
	}
	r.Projects = []Project{p}
	return r
}

// wide gives a report a graph in which the project asks for 40 packages, and each package for the next few.
func wide(r *Report, each int) *Report {
	p := Project{Name: "wide", Version: "1.0.0", File: "package-lock.json", Nodes: []Node{{Name: "wide", Package: -1, Other: -1}}}
	for i := range r.Packages {
		p.Nodes = append(p.Nodes, Node{Name: r.Packages[i].Name, Package: i, Other: -1})
	}
	for i := range p.Nodes {
		from, n := i*each+1, each
		if i == 0 {
			from, n = 1, 40
		}
		for j := from; j < from+n; j++ {
			if to := j % len(p.Nodes); to > 0 {
				p.Nodes[i].Edges = append(p.Nodes[i].Edges, Edge{Name: p.Nodes[to].Name, Spec: "^1.2.3", Kind: "prod", To: to})
			}
		}
	}
	r.Projects = []Project{p}
	return r
}

// elements calls f with every element of a page.
func elements(t testing.TB, page []byte, f func(n *html.Node)) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			f(n)
		}
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// What the template of the page is made of.
var (
	pageElements = strings.Fields(`a b body button caption code dd details div dl dt footer form h1 h2 h3 head header html i input label li link main
		meta nav option p rect script section select small span style summary svg table tbody td th thead title tr ul`)
	pageAttributes = strings.Fields(`aria-hidden aria-keyshortcuts aria-label aria-labelledby autocomplete charset class content data-d data-n data-total data-v
		data-x focusable for height hidden href http-equiv id lang name open preserveAspectRatio rel role scope spellcheck tabindex type value viewBox width x y`)
)

// holdsNothingForeign: a page has the elements and attributes of its template and no others, nothing in it is
// fetched, and its links lead into the page or to https.
func holdsNothingForeign(t *testing.T, page []byte) {
	t.Helper()
	scripts, links := 0, 0
	ids := map[string]bool{}
	var inner []string
	elements(t, page, func(n *html.Node) {
		if !slices.Contains(pageElements, n.Data) {
			t.Errorf("an element %q", n.Data)
		}
		for _, a := range n.Attr {
			if !slices.Contains(pageAttributes, a.Key) {
				t.Errorf("an attribute %q of %q", a.Key, n.Data)
			}
		}
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				t.Errorf("two elements are called %q", id)
			}
			ids[id] = true
		}
		switch n.Data {
		case "script", "style":
			scripts++
		case "link":
			links++
		case "a":
			href := attr(n, "href")
			if strings.HasPrefix(href, "#") {
				inner = append(inner, href[1:])
			} else if u, err := url.Parse(href); err != nil || !strings.HasPrefix(href, "https://") || u.Host == "" || u.User != nil ||
				strings.ContainsAny(href, " \"'<>`\\") || EscapeASCII(href) != href {
				t.Errorf("a link to %q", href)
			}
		}
	})
	if scripts != 2 || links != 1 {
		t.Errorf("%d scripts and styles, %d links", scripts, links)
	}
	for _, id := range inner {
		if !ids[id] {
			t.Errorf("a link leads to %q, which is not there", id)
		}
	}
}

func TestHTMLHoldsNothingForeign(t *testing.T) {
	for name, r := range samples() {
		t.Run(name, func(t *testing.T) { holdsNothingForeign(t, pageOf(t, r, TextOptions{Subject: injections[0]})) })
	}
}

// FuzzHTML puts a text into every place of a report: it stays text.
func FuzzHTML(f *testing.F) {
	for _, s := range slices.Concat(injections, attack) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4000 {
			t.Skip("longer texts are cut")
		}
		holdsNothingForeign(t, pageOf(t, injectedWith([]string{s}), TextOptions{Subject: s}))
	})
}

// TestHTMLShowsNothingHidden: what would reorder, hide or vanish is shown as its code point.
func TestHTMLShowsNothingHidden(t *testing.T) {
	for name, r := range samples() {
		for i, line := range strings.Split(string(pageOf(t, r, TextOptions{Subject: attack[5]})), "\n") {
			if at := strings.IndexFunc(line, func(r rune) bool { return hidden(r, false) }); at >= 0 {
				t.Fatalf("%s, line %d: %q", name, i+1, line[max(0, at-40):min(len(line), at+40)])
			}
		}
	}
}

// TestHTMLPolicy: the page's policy lets run and apply what the page brings along, and nothing else.
func TestHTMLPolicy(t *testing.T) {
	page := string(pageOf(t, grown(), TextOptions{}))
	for _, element := range []string{"style", "script"} {
		m := regexp.MustCompile(`(?s)<` + element + `>(.*?)</` + element + `>`).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no %s", element)
		}
		sum := sha256.Sum256([]byte(m[1]))
		want := html.EscapeString(element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
		if !strings.Contains(strings.ReplaceAll(page, "&#43;", "+"), want) {
			t.Errorf("the policy does not hold %s", want)
		}
	}
	for _, bad := range []string{"unsafe-", "http:", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "eval(", "localStorage"} {
		for file, text := range map[string]string{"page.css": pageStyle, "page.js": pageScript, "the policy": pageSources} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %q", file, bad)
			}
		}
	}
}

// TestHTMLHoldsEverything: every package with every check and finding is in the page, so that it can be read without
// scripts; rows that several packages share are there once.
func TestHTMLHoldsEverything(t *testing.T) {
	all := samples()
	all["wide"] = wide(bigReport(600), 3)
	for name, r := range all {
		profiles, items := map[string][]string{}, map[string]*html.Node{}
		rows := func(n *html.Node) (list []string) {
			for d := range n.Descendants() {
				if d.Type == html.ElementNode && d.Data == "tr" && attr(d, "data-n") != "" {
					list = append(list, attr(d, "data-n")+" "+text(d))
				}
			}
			return list
		}
		elements(t, pageOf(t, r, TextOptions{}), func(n *html.Node) {
			switch id := attr(n, "id"); {
			case n.Data == "table" && id != "":
				profiles[id] = rows(n)
			case n.Data == "div" && attr(n, "class") == "d":
				items[id] = n
			}
		})
		if len(items) != len(r.Packages)+len(r.Others) {
			t.Fatalf("%s: %d items", name, len(items))
		}
		for i := range r.Packages {
			p := &r.Packages[i]
			n := items[fmt.Sprint("p", i)]
			words := text(n)
			all := rows(n)
			for d := range n.Descendants() {
				if d.Type == html.ElementNode && d.Data == "p" && attr(d, "class") == "more" {
					all = append(all, profiles[attr(d.FirstChild, "href")[1:]]...)
				}
			}
			if len(all) != len(p.Checks) {
				t.Fatalf("%s: %s has %d rows, want %d", name, p.Name, len(all), len(p.Checks))
			}
			found := map[string]string{}
			for _, row := range all {
				order, rest, _ := strings.Cut(row, " ")
				found[order] = rest
			}
			for j, c := range p.Checks {
				row := found[fmt.Sprint(j)]
				for _, want := range []string{Escape(c.ID), Escape(c.Reason), Escape(c.Message), EscapeASCII(c.Expected), EscapeASCII(c.Actual)} {
					if !strings.Contains(row, want) {
						t.Fatalf("%s: row %d of %s lacks %q: %q", name, j, p.Name, want, row)
					}
				}
			}
			for _, f := range p.Findings {
				if !strings.Contains(words, Escape(f.Rule)+": "+Escape(f.Message)) || f.File != "" && !strings.Contains(words, fmt.Sprintf("%s:%d", Escape(f.File), f.Line)) {
					t.Fatalf("%s: %s lacks a finding: %q", name, p.Name, words)
				}
			}
			if q := p.Publisher; q != nil && (!strings.Contains(words, builtFrom(q)) || !strings.Contains(words, EscapeASCII(q.Issuer))) {
				t.Fatalf("%s: %s lacks its publisher: %q", name, p.Name, words)
			}
			if !strings.Contains(words, why(p.Path, p.Direct, p.Dev)) || !strings.Contains(words, EscapeASCII(p.Integrity)) {
				t.Fatalf("%s: %s lacks its path or its bytes: %q", name, p.Name, words)
			}
		}
	}
}

// text is what an element says.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// TestHTMLSameBytes: the same report gives the same bytes, however long the run took.
func TestHTMLSameBytes(t *testing.T) {
	for name, make := range map[string]func() *Report{"grown": grown, "hostile": hostile, "clean": clean} {
		a, b := pageOf(t, make(), TextOptions{Elapsed: 1, Width: 40, Color: true}), pageOf(t, make(), TextOptions{Elapsed: 1 << 40})
		if !bytes.Equal(a, b) {
			t.Errorf("%s: two pages differ", name)
		}
	}
}

// TestHTMLSize: a page stays of a size that can be sent and opened.
func TestHTMLSize(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    *Report
		max  int
	}{
		{"big", wide(bigReport(5000), 3), 6 << 20},
		{"outage", outage(), 2 << 20},
		{"tangled", tangled(300), 8 << 20}, // of its 90,000 edges 20,000 are drawn
		{"chain", chain(5000), 8 << 20},
	} {
		if n := len(pageOf(t, tt.r, TextOptions{})); n > tt.max {
			t.Errorf("%s: %d bytes", tt.name, n)
		} else {
			t.Logf("%s: %d bytes", tt.name, n)
		}
	}
	for name, want := range map[string]string{"tangled": "more lines are not drawn", "chain": "deeper than 60 levels not drawn"} {
		r := map[string]*Report{"tangled": tangled(300), "chain": chain(5000)}[name]
		if !strings.Contains(string(pageOf(t, r, TextOptions{})), want) {
			t.Errorf("%s: the cut is not told", name)
		}
	}
}

// TestHTMLGolden compares one small page, less its style and script, with what somebody looked at.
func TestHTMLGolden(t *testing.T) {
	r := allAttested()
	r.Packages = append(r.Packages, grown().Packages[5])
	r.Sum()
	page := string(pageOf(t, r, TextOptions{Subject: subject}))
	for _, part := range []string{pageStyle, pageScript} {
		page = strings.Replace(page, part, "…", 1)
	}
	page = regexp.MustCompile(`sha256-(?:[^&]|&#43;)*`).ReplaceAllString(page, "sha256-…")
	looked(t, "page.html", []byte(page))
}

// TestHTMLPromisesNothing: no word says that a package is safe.
func TestHTMLPromisesNothing(t *testing.T) {
	for _, name := range []string{"grown", "clean", "ruled", "outage", "empty"} {
		page := string(pageOf(t, samples()[name], TextOptions{Subject: subject}))
		if bad := regexp.MustCompile(`(?i)\b(safe|secure|trusted package|trustworthy)\b|[✓✔☑✅]`).FindString(page); bad != "" {
			t.Errorf("%s: the page holds %q", name, bad)
		}
	}
}

func TestHTMLError(t *testing.T) {
	for _, after := range []int{0, 100_000} {
		if err := WriteHTML(&brokenWriter{after, io.ErrClosedPipe}, clean(), TextOptions{}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: error %v", after, err)
		}
	}
}

func TestFollowable(t *testing.T) {
	for text, want := range map[string]bool{
		"https://github.com/a/b": true, "https://search.sigstore.dev/?logIndex=1": true, "http://github.com/a/b": false, "javascript:alert(1)": false,
		"https://": false, "https://a@b/": false, "https://a.example/ b": false, `https://a.example/"x`: false, "HTTPS://a.example": false, "": false, "//a.example": false,
		`https://a.example/\u{202e}`: false,
	} {
		if got := followable(text).Address != ""; got != want {
			t.Errorf("%q may be followed: %v, want %v", text, got, want)
		}
	}
}

func BenchmarkWriteHTML(b *testing.B) {
	r := wide(bigReport(1500), 3)
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteHTML(io.Discard, r, TextOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
