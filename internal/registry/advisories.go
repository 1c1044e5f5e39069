package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"assay/internal/npm"
)

// maxQuestion bounds what one question about advisories sends, in bytes.
const maxQuestion = 16 << 20

// Advisories asks which of the versions of packages a registry's advisories name: POST
// {registry}/-/npm/v1/security/advisories/bulk, as npm audit does (npm/cli, workspaces/arborist, lib/audit-report.js;
// @npmcli/metavuln-calculator). versions is by package name; a registry without advisories refuses, mostly with 404
// (kind NotFound). The answer is an object by package name, in no form that is checked here.
// The question names packages: it follows no redirection. Errors are *Error.
func (c *Client) Advisories(ctx context.Context, registry string, versions map[string][]string) (*Response, error) {
	a := &ask{op: "asking a registry for advisories", what: "answer about advisories", limit: c.opts.Limits.Document, timeout: c.timeout(30 * time.Second), places: c.answers}
	fail := func(err error) (*Response, error) {
		return nil, &Error{Op: a.op, Kind: InvalidURL, Err: err}
	}
	for name, list := range versions {
		if err := npm.CheckName(name); err != nil {
			return fail(err)
		}
		if i := slices.IndexFunc(list, func(v string) bool { return npm.CheckVersion(v) != nil }); i >= 0 {
			return fail(npm.CheckVersion(list[i]))
		}
	}
	var err error
	if a.registry, err = parseURL(registry); err != nil {
		return fail(err)
	}
	a.op = "asking " + shown(a.registry) + " for advisories"
	if a.url, err = withPath(a.registry, joined(a.registry.EscapedPath(), "/-/npm/v1/security/advisories/bulk")); err != nil {
		return fail(err)
	}
	if a.question, err = json.Marshal(versions); err == nil && len(a.question) > maxQuestion {
		err = fmt.Errorf("the question is larger than %d bytes", maxQuestion)
	}
	if err != nil {
		return fail(err)
	}
	return c.getShared(ctx, a)
}

// errMoved refuses to send a question anywhere but where the user's configuration says.
var errMoved = errors.New("the question is redirected, and it is for this registry only")
