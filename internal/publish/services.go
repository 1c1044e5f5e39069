package publish

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Services are the addresses of a Sigstore.
type Services struct {
	Fulcio string // base URL
	// Rekor are base URLs of the logs that get an entry each, of one kind of API.
	Rekor        []string
	RekorVersion int      // 1 or 2
	TSA          []string // whole URLs; needed with Rekor v2, which tells no time, and optional with Rekor v1
}

// PublicGood is the public instance, as npm uses it: Rekor v1 and no timestamp authority. Rekor v2 has to be asked
// for, because the npm clients of today refuse what is logged there (npm 11 compares the digest of a hashedrekord
// entry with the payload and not with its pre-authentication encoding).
func PublicGood() Services {
	return Services{Fulcio: "https://fulcio.sigstore.dev", Rekor: []string{"https://rekor.sigstore.dev"}, RekorVersion: 1}
}

// WithTSA returns the services with a timestamp authority, given as its whole URL or as its base.
func (s Services) WithTSA(address string) Services {
	if _, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://"), "/"); path == "" {
		address = join(address, "/api/v1/timestamp")
	}
	s.TSA = []string{address}
	return s
}

// check says what is wrong with the addresses.
func (s Services) check() error {
	if s.Fulcio == "" || len(s.Rekor) == 0 {
		return setup("services", "", "there is no certificate authority or no transparency log to sign with")
	}
	if s.RekorVersion != 1 && s.RekorVersion != 2 {
		return setup("services", "", "Rekor has versions 1 and 2, and %d is asked for", s.RekorVersion)
	}
	if s.RekorVersion == 2 && len(s.TSA) == 0 {
		return setup("services", "name one with --tsa-url", "Rekor v2 tells no time, so a timestamp authority is needed with it")
	}
	for name, list := range map[string][]string{"Fulcio": {s.Fulcio}, "Rekor": s.Rekor, "the timestamp authority": s.TSA} {
		for _, address := range list {
			if err := checkServiceURL(name, address); err != nil {
				return err
			}
		}
	}
	return nil
}

// service is one entry of a signing configuration.
type service struct {
	URL      string `json:"url"`
	Version  int    `json:"majorApiVersion"`
	Operator string `json:"operator"`
	ValidFor struct {
		Start time.Time  `json:"start"`
		End   *time.Time `json:"end"`
	} `json:"validFor"`
}

type selector struct {
	Selector string `json:"selector"`
	Count    int    `json:"count"`
}

// ParseSigningConfig reads a signing_config.v0.2.json (protobuf-specs, sigstore_trustroot.proto, SigningConfig) and
// chooses what is valid at a time: of each kind the services of an API that is known here, the newest of each
// operator, as many operators as the configuration asks for. Of the logs it takes those of the Rekor version that
// is asked for; 0 stands for version 1 where there is one, for the sake of npm's clients, else 2.
func ParseSigningConfig(data []byte, rekorVersion int, now time.Time) (Services, error) {
	var doc struct {
		MediaType   string    `json:"mediaType"`
		CAs         []service `json:"caUrls"`
		Logs        []service `json:"rekorTlogUrls"`
		TSAs        []service `json:"tsaUrls"`
		RekorConfig selector  `json:"rekorTlogConfig"`
		TSAConfig   selector  `json:"tsaConfig"`
	}
	fail := func(format string, args ...any) (Services, error) {
		return Services{}, setup("signing-config", "", "signing configuration: "+format, args...)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fail("%v", err)
	}
	if doc.MediaType != "application/vnd.dev.sigstore.signingconfig.v0.2+json" {
		return fail("its media type is %q, and version 0.2 is known", doc.MediaType)
	}
	var s Services
	cas, err := choose(doc.CAs, 1, selector{Selector: "ANY"}, now)
	if err != nil {
		return fail("certificate authorities: %v", err)
	}
	s.Fulcio = cas[0]
	versions := []int{rekorVersion}
	if rekorVersion == 0 {
		versions = []int{1, 2}
	}
	for _, v := range versions {
		if s.Rekor, err = choose(doc.Logs, v, doc.RekorConfig, now); err == nil {
			s.RekorVersion = v
			break
		}
	}
	if err != nil {
		return fail("transparency logs: %v", err)
	}
	if len(doc.TSAs) > 0 {
		if s.TSA, err = choose(doc.TSAs, 1, doc.TSAConfig, now); err != nil {
			return fail("timestamp authorities: %v", err)
		}
	}
	return s, s.check()
}

func choose(list []service, version int, sel selector, now time.Time) ([]string, error) {
	var usable []service
	for _, s := range list {
		if s.Version == version && !s.ValidFor.Start.IsZero() && !now.Before(s.ValidFor.Start) && (s.ValidFor.End == nil || now.Before(*s.ValidFor.End)) {
			usable = append(usable, s)
		}
	}
	slices.SortStableFunc(usable, func(a, b service) int { return b.ValidFor.Start.Compare(a.ValidFor.Start) })
	var urls []string
	operators := map[string]bool{}
	for _, s := range usable {
		if !operators[s.Operator] {
			operators[s.Operator] = true
			urls = append(urls, s.URL)
		}
	}
	want := 1
	switch sel.Selector {
	case "ALL":
		want = max(1, len(urls))
	case "EXACT":
		want = max(1, sel.Count)
	case "", "ANY", "SERVICE_SELECTOR_UNDEFINED":
	default:
		return nil, fmt.Errorf("the selector %q is not known", sel.Selector)
	}
	if len(urls) < want {
		return nil, fmt.Errorf("%d are needed, and %d of API version %d are valid now", want, len(urls), version)
	}
	return urls[:want], nil
}
