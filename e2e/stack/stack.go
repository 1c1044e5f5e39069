package stack

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"assay/internal/lab"
)

// ctPrefix is the certificate transparency log's path.
const ctPrefix = "e2e"

// A Stack is a running Sigstore. Its registry, token issuers and TUF repository are a lab's; certificates, certificate
// timestamps, log entries and timestamps are made by the real programs. The lab's own authorities are not trusted in
// it, but for the log in which the lab's registry enters its publish attestations.
type Stack struct {
	Lab     *lab.Lab
	Issuers *lab.Services // the token endpoint of GitHub's runners; the rest of it is the lab's own Sigstore

	Fulcio  string // base URLs
	Rekor   string
	RekorV2 string
	TSA     string // whole URL

	TrustedRoot  []byte // trusted_root.json
	RegistryKeys []byte // keys.json

	bin, dir  string
	keys      *keys
	proxy     *proxy
	inner     *lab.Proxy // what the lab answers for itself: registry and token issuers
	tuf       *lab.TUF
	processes []*process
}

// Start runs the programs of a directory that [Build] returned. It is ready when it returns: after two seconds, on a
// machine with nothing else to do.
func Start(ctx context.Context, bin string) (*Stack, error) {
	s := &Stack{bin: bin}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("starting the servers: %w", joinClose(err, s))
	}
	return s, nil
}

func joinClose(err error, s *Stack) error {
	if more := s.Close(); more != nil {
		return fmt.Errorf("%w; and then: %w", err, more)
	}
	return err
}

func (s *Stack) open(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "assay-e2e-"); err != nil {
		return err
	}
	if s.keys, err = newKeys(s.dir); err != nil {
		return err
	}
	if s.Lab, err = lab.New(lab.Options{}); err != nil {
		return err
	}
	if s.inner, err = s.Lab.ListenProxy(); err != nil {
		return err
	}
	if s.Issuers, err = s.Lab.ListenServices(""); err != nil {
		return err
	}
	ports, err := freePorts(8)
	if err != nil {
		return err
	}
	local := func(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", ports[i]) }
	const trillian, ct, fulcio, fulcioGRPC, rekor, tsa, rekorV2, rekorV2GRPC = 0, 1, 2, 3, 4, 5, 6, 7
	s.Fulcio, s.Rekor, s.RekorV2, s.TSA = local(fulcio), local(rekor), local(rekorV2), local(tsa)+"/api/v1/timestamp"

	if err := s.trust(); err != nil {
		return err
	}
	s.proxy, err = newProxy(s.keys, map[string]http.Handler{
		lab.HostFulcio: to(s.Fulcio), lab.HostRekor: to(s.Rekor), lab.HostTSA: to(local(tsa)), lab.HostTUF: s.tuf,
		lab.HostRegistry: through(s.inner, lab.HostRegistry), lab.HostGitHub: through(s.inner, lab.HostGitHub), lab.HostGitLab: through(s.inner, lab.HostGitLab),
	})
	if err != nil {
		return err
	}
	port := func(i int) string { return fmt.Sprint(ports[i]) }
	start := func(name string, env []string, program string, args ...string) {
		if err == nil {
			err = s.start(name, env, program, args...)
		}
	}
	start("tsa", nil, "tsa", "-port", port(tsa), "-key", s.keys.file("tsa.key"), "-chain", s.keys.file("tsa-chain.pem"))
	start("rekor-v2", nil, "rekor-v2", "serve", "--storage-dir", s.keys.file("tiles"), "--signer-filepath", s.keys.file("rekor-v2.key"),
		"--hostname", hostRekorV2, "--http-address", "127.0.0.1", "--http-port", port(rekorV2), "--http-metrics-port", "0",
		"--grpc-address", "127.0.0.1", "--grpc-port", port(rekorV2GRPC), "--checkpoint-interval", "200ms", "--batch-max-age", "50ms")
	start("trillian", nil, "trillian", "-port", port(trillian), "-tree", s.keys.file("ct-tree"))
	if err != nil {
		return err
	}
	var tree string
	if err := s.await(ctx, "trillian", present(s.keys.file("ct-tree"), &tree)); err != nil {
		return err
	}
	if err := s.configure(tree); err != nil {
		return err
	}
	start("rekor", nil, "rekor-server", "serve", "--rekor_server.address", "127.0.0.1", "--port", port(rekor),
		// The name stands in its checkpoints, where npm's verifier compares it with the trusted root.
		"--rekor_server.hostname", lab.HostRekor, "--rekor_server.signer", s.keys.file("rekor.key"), "--log_type", "prod",
		"--trillian_log_server.address", "127.0.0.1", "--trillian_log_server.port", port(trillian),
		// Without search and retrieval it needs no Redis.
		"--enable_retrieve_api=false", "--enabled_api_endpoints",
		"getLogInfo,getPublicKey,getLogProof,createLogEntry,getLogEntryByIndex,getLogEntryByUUID,searchLogQuery")
	start("ct", nil, "ct_server", "--http_endpoint=127.0.0.1:"+port(ct), "--log_rpc_server=127.0.0.1:"+port(trillian),
		"--log_config="+s.keys.file("ct.textproto"), "--get_sth_interval=0", "--logtostderr")
	// Fulcio looks for its issuers at their real names, through the proxy.
	start("fulcio", []string{"HTTPS_PROXY=" + s.proxy.url, "SSL_CERT_FILE=" + s.keys.file("https.pem"), "SSL_CERT_DIR=/nonexistent"},
		"fulcio", "serve", "--host", "127.0.0.1", "--port", port(fulcio), "--grpc-host", "127.0.0.1", "--grpc-port", port(fulcioGRPC),
		"--metrics-port", "0", "--legacy-unix-domain-socket", "fulcio.sock", // in its directory: a socket's whole path may have 107 bytes
		"--log_type", "prod", "--config-path", s.keys.file("fulcio.config.yaml"),
		// The key is not encrypted, but the flag has to be there.
		"--ca", "fileca", "--fileca-cert", s.keys.file("fulcio-chain.pem"), "--fileca-key", s.keys.file("fulcio.key"), "--fileca-key-passwd", "none",
		"--fileca-watch=false", "--ct-log-url", local(ct)+"/"+ctPrefix, "--ct-log-public-key-path", s.keys.file("ct.pub"))
	if err != nil {
		return err
	}
	for _, ready := range []struct{ name, url string }{
		{"tsa", s.TSA + "/certchain"}, {"rekor-v2", s.RekorV2 + "/healthz"}, {"ct", local(ct) + "/" + ctPrefix + "/ct/v1/get-sth"},
		{"rekor", s.Rekor + "/api/v1/log/publicKey"}, {"fulcio", s.Fulcio + "/api/v2/trustBundle"},
	} {
		if err := s.await(ctx, ready.name, answers(ready.url)); err != nil {
			return err
		}
	}
	return nil
}

// trust makes what verifiers trust: the real services, and of the lab the registry's keys and log.
func (s *Stack) trust() error {
	var own struct {
		Logs []json.RawMessage `json:"tlogs"`
	}
	err := json.Unmarshal(s.Lab.TrustedRoot(), &own)
	if err != nil {
		return err
	}
	if s.TrustedRoot, err = s.keys.trustedRoot(own.Logs[0]); err != nil {
		return err
	}
	s.RegistryKeys = s.Lab.RegistryKeysTUF()
	s.tuf = s.Lab.TUF(lab.TUFOptions{Targets: map[string][]byte{"trusted_root.json": s.TrustedRoot}})
	return nil
}

// configure writes the configurations of the certificate transparency log and of Fulcio.
func (s *Stack) configure(tree string) error {
	key, err := os.ReadFile(s.keys.file("ct.key"))
	if err != nil {
		return err
	}
	// A key in a file would have to be encrypted in the old way of PEM; in the configuration itself it may be plain.
	var octal strings.Builder
	block, _ := pem.Decode(key)
	for _, b := range block.Bytes {
		fmt.Fprintf(&octal, `\%03o`, b)
	}
	text := fmt.Sprintf("config {\n  log_id: %s\n  prefix: %q\n  roots_pem_file: %q\n  max_merge_delay_sec: 86400\n  ext_key_usages: \"CodeSigning\"\n"+
		"  private_key { [type.googleapis.com/keyspb.PrivateKey] { der: \"%s\" } }\n}\n", tree, ctPrefix, s.keys.file("fulcio-root.pem"), octal.String())
	if err := os.WriteFile(s.keys.file("ct.textproto"), []byte(text), 0o600); err != nil {
		return err
	}

	// How claims become extensions is taken from the configuration of Fulcio's release, word for word.
	released, err := os.ReadFile(filepath.Join(s.bin, fulcioConfig))
	if err != nil {
		return err
	}
	var config struct {
		Metadata map[string]any `yaml:"ci-issuer-metadata"`
	}
	if err := yaml.Unmarshal(released, &config); err != nil {
		return fmt.Errorf("reading Fulcio's own configuration: %w", err)
	}
	issuers := map[string]any{}
	for issuer, provider := range map[string]string{lab.IssuerGitHub: "github-workflow", lab.IssuerGitLab: "gitlab-pipeline"} {
		if config.Metadata[provider] == nil {
			return fmt.Errorf("no %s in Fulcio's own configuration", provider)
		}
		issuers[issuer] = map[string]string{"issuer-url": issuer, "client-id": "sigstore", "type": "ci-provider", "ci-provider": provider}
	}
	out, err := yaml.Marshal(map[string]any{"oidc-issuers": issuers, "ci-issuer-metadata": config.Metadata})
	if err != nil {
		return err
	}
	return os.WriteFile(s.keys.file("fulcio.config.yaml"), out, 0o600)
}

// Close ends every process and removes what they wrote. An error says what was wrong with the stack while it ran.
func (s *Stack) Close() error {
	for _, p := range slices.Backward(s.processes) {
		p.end()
	}
	if s.proxy != nil {
		s.proxy.close()
	}
	if s.Issuers != nil {
		s.Issuers.Close()
	}
	if s.inner != nil {
		s.inner.Close()
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// Refused lists what was asked of the proxy and is not on this machine.
func (s *Stack) Refused() []string {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	return slices.Clone(s.proxy.refused)
}

// Processes are the numbers of the running services, by name.
func (s *Stack) Processes() (map[string]int, error) {
	out := map[string]int{}
	for _, p := range s.processes {
		data, err := os.ReadFile(filepath.Join(s.dir, p.name+".pid"))
		if err != nil {
			return nil, err
		}
		var pid int
		if _, err := fmt.Sscan(string(data), &pid); err != nil {
			return nil, err
		}
		out[p.name] = pid
	}
	return out, nil
}

// Logs are the last lines that each service wrote, for a run that fails.
func (s *Stack) Logs() string {
	var b strings.Builder
	for _, p := range s.processes {
		text, err := os.ReadFile(p.log)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "== %s\n%s\n", p.name, text[max(0, len(text)-2000):])
	}
	return b.String()
}

// Environ prepares a home directory for programs as they are, npm and assay, and returns an environment in which the
// public services are those of the stack: the user's own, without what would lead elsewhere or mark a CI job.
func (s *Stack) Environ(home string) ([]string, error) {
	ca, rc, cache, data := filepath.Join(home, "https.pem"), filepath.Join(home, ".npmrc"), filepath.Join(home, "npm-cache"), filepath.Join(home, "data")
	authority, err := os.ReadFile(s.keys.file("https.pem"))
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		ca: authority,
		rc: []byte("//registry.npmjs.org/:_authToken=npm_e2e\n"),
		// npm believes the root that it finds here, and brings another one along if there is none.
		filepath.Join(cache, "_tuf", lab.HostTUF, "root.json"):       s.tuf.Root,
		filepath.Join(data, "sigstore-js", lab.HostTUF, "root.json"): s.tuf.Root,
		filepath.Join(home, "trusted_root.json"):                     s.TrustedRoot,
		filepath.Join(home, "keys.json"):                             s.RegistryKeys,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return nil, err
		}
	}
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		upper := strings.ToUpper(name)
		foreign := strings.HasSuffix(upper, "_PROXY") || upper == "CI" || upper == "NODE_OPTIONS"
		for _, prefix := range []string{"NPM_", "GITHUB_", "GITLAB_", "CI_", "ACTIONS_", "RUNNER_", "XDG_", "SIGSTORE_", "ASSAY_"} {
			foreign = foreign || strings.HasPrefix(upper, prefix)
		}
		if !foreign {
			env = append(env, v)
		}
	}
	return append(env,
		"HOME="+home, "XDG_DATA_HOME="+data, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "XDG_CONFIG_HOME="+filepath.Join(home, "config"),
		"HTTPS_PROXY="+s.proxy.url, "https_proxy="+s.proxy.url, "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
		"NODE_EXTRA_CA_CERTS="+ca, "npm_config_cafile="+ca, "npm_config_cache="+cache, "npm_config_userconfig="+rc, "npm_config_globalconfig="+os.DevNull,
		"npm_config_registry=https://registry.npmjs.org/", "npm_config_update_notifier=false", "npm_config_audit=false", "npm_config_fund=false",
	), nil
}

// Version is the version of a module that one of the running programs contains, such as v1.8.8.
func (s *Stack) Version(program, module string) string { return Version(s.bin, program, module) }
