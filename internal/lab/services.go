package lab

import (
	"net/http"
	"time"
)

// Services are the lab's Sigstore on a loopback address: each at its own path under URL, speaking the API of the
// real one. The registry is apart, in [Server].
type Services struct {
	URL    string
	lab    *Lab
	http   *http.Server
	served chan struct{}
}

// Paths of the services under [Services.URL].
const (
	PathFulcio  = "/fulcio"  // /api/v2/signingCert, /api/v2/trustBundle, /api/v2/configuration
	PathRekor   = "/rekor"   // Rekor v1: /api/v1/log …
	PathRekorV2 = "/rekor2"  // Rekor v2: /api/v2/log/entries, checkpoint, tiles
	PathTSA     = "/tsa"     // /api/v1/timestamp, /api/v1/timestamp/certchain
	PathTUF     = "/tuf"     // the TUF repository
	pathToken   = "/token"   // GitHub's identity tokens
	pathGitHub  = "/oidc/gh" // discovery and keys of the GitHub issuer
	pathGitLab  = "/oidc/gl"
)

// ListenServices serves the lab's Sigstore. An empty address means 127.0.0.1 and a free port.
func (l *Lab) ListenServices(addr string) (*Services, error) {
	ln, err := listenLoopback(addr)
	if err != nil {
		return nil, err
	}
	s := &Services{URL: "http://" + ln.Addr().String(), lab: l, served: make(chan struct{})}
	mux := http.NewServeMux()
	mount := func(path string, h http.Handler) { mux.Handle(path+"/", http.StripPrefix(path, h)) }
	mount(PathFulcio, l.fulcioHandler())
	mount(PathRekor, l.Rekor.handler(l))
	mount(PathRekorV2, l.RekorV2.handler(l))
	mount(PathTSA, l.tsaHandler())
	mount(PathTUF, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.TUF(TUFOptions{Targets: map[string][]byte{"signing_config.v0.2.json": s.SigningConfig()}}).ServeHTTP(w, r)
	}))
	mount(pathGitHub, l.issuer(IssuerGitHub, s.URL+pathGitHub))
	mount(pathGitLab, l.issuer(IssuerGitLab, s.URL+pathGitLab))
	mux.HandleFunc("GET "+pathToken, l.serveToken)
	s.http = &http.Server{ErrorLog: quiet, Handler: mux, ReadHeaderTimeout: 30 * time.Second}
	go func() {
		defer close(s.served)
		s.http.Serve(ln) // ends with Close
	}()
	return s, nil
}

// Close ends the services.
func (s *Services) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

func (l *Lab) fulcioHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/signingCert", l.serveSigningCert)
	mux.HandleFunc("GET /api/v2/trustBundle", l.serveTrustBundle)
	mux.HandleFunc("GET /api/v2/configuration", l.serveFulcioConfiguration)
	return mux
}

func (l *Lab) tsaHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/timestamp", l.serveTimestamp)
	mux.HandleFunc("GET /api/v1/timestamp/certchain", l.serveStampChain)
	return mux
}
