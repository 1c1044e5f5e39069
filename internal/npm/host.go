package npm

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// normalizeRegistry brings a registry's URL into the one form in which registries are compared: lower-case
// scheme and host, no default port, no trailing slash. dropped says that it had a user, a query or a fragment.
func normalizeRegistry(s string) (registry string, dropped bool, err error) {
	u, err := url.Parse(strings.TrimFunc(s, isSpaceJS))
	if err != nil {
		return "", false, errors.New("it is not a URL") // url.Error would print it, with its password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" {
		return "", false, errors.New("it is not a URL of http or https")
	}
	host, err := urlHost(u)
	if err != nil {
		return "", false, err
	}
	path := u.EscapedPath()
	for segment := range strings.SplitSeq(path, "/") {
		if isDotSegment(segment) {
			return "", false, errors.New(`it has a "." or ".." in its path`)
		}
	}
	dropped = u.User != nil || u.RawQuery != "" || u.Fragment != ""
	return u.Scheme + "://" + host + strings.TrimRight(path, "/"), dropped, nil
}

// IsPublicHost reports whether a host, with its port if it has one, is that of npm's public registry, under its own
// name or under registry.yarnpkg.com, the name for it that yarn writes into its lockfiles.
// Source: yarn's maintainers in yarnpkg/berry#1912 and yarnpkg/yarn#7501: the name is an alias in DNS and no more.
func IsPublicHost(host string) bool {
	return strings.EqualFold(host, publicHost) || strings.EqualFold(host, "registry.yarnpkg.com")
}

const publicHost = "registry.npmjs.org"

// PublicName gives an address on npm's public registry the registry's own name where it has yarn's for it. Whatever
// else it is given stays as it is.
func PublicName(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User != nil || !IsPublicHost(u.Host) || strings.EqualFold(u.Host, publicHost) {
		return address
	}
	u.Host = publicHost
	return u.String()
}

// urlHost returns the host of a URL of http or https in lower case, with its port unless it is the
// scheme's default.
func urlHost(u *url.URL) (string, error) {
	host := strings.ToLower(u.Hostname())
	if host == "" {
		return "", errors.New("it has no host")
	}
	for i := 0; i < len(host); i++ {
		if !isAlphanumeric(host[i]) && strings.IndexByte("-._:", host[i]) < 0 {
			return "", errors.New("its host is not plain ASCII")
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != defaultPorts[u.Scheme] {
		host += ":" + port
	}
	return host, nil
}

// cleanPath returns a URL's path as a client sends it: dot segments resolved, escapes kept, at least "/".
// Source: WHATWG URL Standard, path state.
func cleanPath(u *url.URL) string {
	var kept []string
	segments := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		if !isDotSegment(s) {
			kept = append(kept, s)
			continue
		}
		if strings.ReplaceAll(strings.ToLower(s), "%2e", ".") == ".." && len(kept) > 0 {
			kept = kept[:len(kept)-1]
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// underPath reports whether path is prefix or lies below it.
func underPath(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

// parseProxy reads a proxy's URL.
func parseProxy(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimFunc(s, isSpaceJS))
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	switch u.Scheme {
	case "http", "https", "socks", "socks4", "socks4a", "socks5", "socks5h":
	default:
		return nil, errors.New("it is not a URL of http, https or socks")
	}
	if u.Hostname() == "" {
		return nil, errors.New("it has no host")
	}
	return u, nil
}

// Proxy returns the proxy for a request to u, nil for a direct connection: https-proxy, then proxy, then
// the variables HTTPS_PROXY, HTTP_PROXY and PROXY in either case (for https only the first); noproxy or
// else NO_PROXY name the exceptions. An exception holds for the host and all below it, "*" for all hosts.
// The machine itself (localhost, 127.0.0.1, ::1) is always reached directly, as in Go.
// Source: @npmcli/agent, proxy.
func (c *Config) Proxy(u *url.URL) (*url.URL, error) {
	host := strings.ToLower(u.Hostname())
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil, nil
	}
	proxy := ""
	for _, key := range []string{"https-proxy", "proxy"} {
		if value, _, ok := c.Get(key); ok && proxy == "" {
			proxy = value
		}
	}
	variables := []string{"https_proxy", "http_proxy", "proxy"}
	if u.Scheme == "https" {
		variables = variables[:1]
	}
	for _, name := range variables {
		if proxy == "" {
			proxy = c.env[name]
		}
	}
	exceptions := c.All("noproxy")
	if len(exceptions) == 0 {
		exceptions = []string{c.env["no_proxy"]}
	}
	if proxy == "" || isException(host, strings.Join(exceptions, ",")) {
		return nil, nil
	}
	parsed, err := parseProxy(proxy)
	if err != nil {
		return nil, errors.New("reading the proxy's URL: " + err.Error())
	}
	return parsed, nil
}

func isException(host, exceptions string) bool {
	for exception := range strings.SplitSeq(exceptions, ",") {
		exception = strings.ToLower(strings.Trim(strings.TrimFunc(exception, isSpaceJS), "."))
		if exception == "" {
			continue
		}
		if exception == "*" || host == exception || strings.HasSuffix(host, "."+exception) {
			return true
		}
	}
	return false
}
