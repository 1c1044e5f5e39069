package policy

import (
	"bufio"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// corpusFile opens a file of the corpus of real data.
func corpusFile(t *testing.T, name string) *os.File {
	t.Helper()
	dir := cmp.Or(os.Getenv("ASSAY_CORPUS"), filepath.Join("..", "..", "..", "shared", "corpus"))
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("the corpus is not here: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// realHistories are the histories of real packages, as far as somebody recorded their versions. Who published is known of
// few, so each package is taken to have one publisher, and its accounts to be unknown.
func realHistories(t *testing.T) map[string][]Version {
	t.Helper()
	lines := bufio.NewScanner(corpusFile(t, "signatures.jsonl"))
	lines.Buffer(nil, 1<<20)
	all := map[string][]Version{}
	for lines.Scan() {
		var r struct {
			Name, Version, PublishedTime, AttestationsURL string
			TrustedPublisher                              any
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, r.PublishedTime)
		if err != nil || slices.ContainsFunc(all[r.Name], func(v Version) bool { return v.Version == r.Version }) {
			continue
		}
		v := Version{Version: r.Version, Time: at, Verdict: verify.Signed, Trusted: r.TrustedPublisher != nil}
		if r.AttestationsURL != "" {
			v.Verdict, v.Announced, v.Logged = verify.Provenance, true, at
			v.Publisher = ci("real/"+r.Name[strings.IndexByte(r.Name, '/')+1:], "release.yml", "refs/heads/main", "push")
		}
		all[r.Name] = append(all[r.Name], v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, versions := range all {
		slices.SortFunc(versions, func(a, b Version) int {
			return cmp.Or(a.Time.Compare(b.Time), npm.CompareVersions(a.Version, b.Version))
		})
	}
	return all
}

// explained are the questions that the recommended policy asks of real histories, and what it tells: provenance was really
// lost there, by publishes by hand between others.
var explained = []string{
	"create-next-app@12.3.7 warn downgrade-package", // an old line, while the others had it for a year
	"node-gyp@10.3.0 deny downgrade-line",           // a quarter of an hour after 10.3.1
	"node-gyp@11.4.0 deny downgrade-line",           // 11.4.1 came three hours later, with it again
	"undici-types@6.19.3 deny downgrade-line",
	"undici-types@7.2.0 deny downgrade-line",
	"undici@5.28.5 warn downgrade-package",
	"undici@5.29.0 warn downgrade-package",
	"undici@6.19.0 deny downgrade-line", // with it again from 6.19.1 on
	"undici@6.19.3 deny downgrade-line", // and without until 6.23.0, which is asked once
	"undici@7.2.0 deny downgrade-line",
	"undici@7.6.0 deny downgrade-line",
}

// TestCorpusHistories takes each version of the real packages as new, some time after it came out, in a project that held
// the version before: what is said has to be right.
func TestCorpusHistories(t *testing.T) {
	p, err := Parse([]byte(Recommended()), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	histories := realHistories(t)
	for _, age := range []time.Duration{26 * time.Hour, 5 * 24 * time.Hour} {
		said := map[string]bool{}
		n, attested, attestedBursts := 0, 0, 0
		for name, versions := range histories {
			for i := range versions {
				own := versions[i]
				now := own.Time.Add(age)
				s := &Subject{ID: npm.ID{Name: name, Version: own.Version}, Now: now,
					History: &History{Versions: slices.DeleteFunc(slices.Clone(versions), func(v Version) bool { return v.Time.After(now) })},
					Outcome: &verify.Outcome{Verdict: own.Verdict, Publisher: own.Publisher, Published: own.Logged, Locked: true, Bound: "lockfile", RegistrySigns: true}}
				if before := s.previous(); before != nil {
					s.Lock = &Lock{File: LockFile, Pins: map[string][]Pin{name: {pinOf(name, before)}}}
				}
				s.Tree = NewTree([]*Subject{s})
				n++
				if own.Announced {
					attested++
				}
				denied := map[string]bool{}
				_, findings := p.Decide(s, Filter{})
				for _, f := range findings {
					switch {
					case !slices.Contains(spoken, f.Rule) || f.Level == Note:
					case f.Rule == "downgrade-package" && denied["downgrade-line"]: // the same, told of the package
					case f.Rule == "min-age" && !own.Announced && age < 72*time.Hour: // as it says
					case f.Rule == "burst" && age < noticed:
						if own.Announced {
							attestedBursts++
						}
					default:
						denied[f.Rule] = true
						said[fmt.Sprintf("%s@%s %s %s", name, own.Version, f.Level, f.Rule)] = true
					}
				}
			}
		}
		got := slices.Sorted(maps.Keys(said))
		if !slices.Equal(got, explained) {
			t.Errorf("%v after %d versions, %d attested, came out:\n%s\nwant\n%s", age, n, attested, strings.Join(got, "\n"), strings.Join(explained, "\n"))
		}
		if attestedBursts > attested/20 {
			t.Errorf("%v after they came out, %d of %d attested versions look like a burst", age, attestedBursts, attested)
		}
		t.Logf("%v after %d versions, %d attested, came out: %d questions and warnings, and %d attested bursts", age, n, attested, len(got), attestedBursts)
	}
}

// certificates reads the signing certificates of the provenance in a bundle, or in a registry's answer.
func certificates(t *testing.T, name string) *publisher.Publisher {
	t.Helper()
	data, err := io.ReadAll(corpusFile(t, "attestations/"+name))
	if err != nil {
		t.Fatal(err)
	}
	type bundle struct {
		VerificationMaterial struct {
			Certificate          struct{ RawBytes []byte }
			X509CertificateChain struct {
				Certificates []struct{ RawBytes []byte }
			}
		}
	}
	var doc struct {
		bundle
		Attestations []struct {
			PredicateType string
			Bundle        bundle
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	bundles := []bundle{doc.bundle}
	for _, a := range doc.Attestations {
		if strings.HasPrefix(a.PredicateType, "https://slsa.dev/provenance/") {
			bundles = append(bundles, a.Bundle)
		}
	}
	for _, b := range bundles {
		der := b.VerificationMaterial.Certificate.RawBytes
		if chain := b.VerificationMaterial.X509CertificateChain.Certificates; len(chain) > 0 {
			der = chain[0].RawBytes
		}
		if der == nil {
			continue
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		c, err := publisher.ReadCertificate(leaf)
		if err != nil {
			t.Fatal(err)
		}
		return publisher.New(c, leaf.NotBefore, 0)
	}
	t.Fatalf("%s has no certificate", name)
	return nil
}

// TestCorpusPublishers replays the real publishers of one package after the other: where they are others, and where not.
func TestCorpusPublishers(t *testing.T) {
	p, err := Parse([]byte(Recommended()), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, before, beforeFile, after, afterFile string
		level                                      Level
		rule, says                                 string
	}{
		// Early certificates have no numbers, so whoever has them first may be anybody of that name.
		{"sigstore", "1.0.0", "api/npm-cli/sigstore-1.0.0.json", "1.3.0", "bundles/sigstore-go/sigstore-1.3.0-provenance.json", Deny, "drift", "ids-learned"},
		{"sigstore", "1.3.0", "bundles/sigstore-go/sigstore-1.3.0-provenance.json", "2.0.0", "bundles/sigstore-go/sigstore-2.0.0-provenance.json", Note, "unpinned", "release line 2 is new, by the publisher of the others"},
		{"sigstore", "2.0.0", "bundles/sigstore-go/sigstore-2.0.0-provenance.json", "2.3.1", "api/slsa-verifier/provenance-npm-test-cli-v1-prega.json", "", "", ""},
		{"sigstore", "2.3.1", "api/slsa-verifier/provenance-npm-test-cli-v1-prega.json", "2.0.0", "bundles/sigstore-go/sigstore-2.0.0-provenance.json", "", "", ""},
		{"@laurentsimon/provenance-npm-test", "1.0.0", "api/slsa-verifier-gha/npm-attestations.json", "1.0.3", "api/slsa-verifier/provenance-npm-test-cli-v02-prega.json", Deny, "drift", "ids-learned"},
		// Another package's publisher under this package's name.
		{"sigstore", "2.0.0", "bundles/sigstore-go/sigstore-2.0.0-provenance.json", "2.3.1", "api/slsa-verifier/supreme-googles-cli-v02-tag.json", Deny, "drift", "repository"},
	} {
		t.Run(tt.name+" "+tt.before+" "+tt.after, func(t *testing.T) {
			before := Version{Version: tt.before, Verdict: verify.Provenance, Publisher: certificates(t, tt.beforeFile)}
			after := certificates(t, tt.afterFile)
			now := after.SignedAt.Add(40 * 24 * time.Hour)
			s := &Subject{ID: npm.ID{Name: tt.name, Version: tt.after}, Now: now,
				Lock:    &Lock{File: LockFile, Pins: map[string][]Pin{tt.name: {pinOf(tt.name, &before)}}},
				History: &History{Versions: []Version{before, {Version: tt.after, Verdict: verify.Provenance, Publisher: after, Logged: after.SignedAt, Time: after.SignedAt}}},
				Outcome: &verify.Outcome{Verdict: verify.Provenance, Publisher: after, Published: after.SignedAt, Locked: true, Bound: "lockfile"}}
			_, findings := p.Decide(s, Filter{})
			if tt.rule == "" {
				if len(findings) > 0 {
					t.Errorf("%+v\n%+v\n%+v", findings, before.Publisher, after)
				}
				return
			}
			if !slices.ContainsFunc(findings, func(f Finding) bool {
				return f.Rule == tt.rule && f.Level == tt.level && strings.Contains(f.Message, tt.says)
			}) {
				t.Errorf("%+v\n%+v\n%+v", findings, before.Publisher, after)
			}
		})
	}
}
