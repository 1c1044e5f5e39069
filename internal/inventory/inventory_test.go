package inventory

import (
	"fmt"
	"strings"
)

// summary writes a project down, one line for each thing in it, for tests to compare.
func summary(p *Project) string {
	var b strings.Builder
	flag := func(on bool, word string) {
		if on {
			b.WriteString(" " + word)
		}
	}
	common := func(direct, dev, optional, devOptional, peer, extraneous bool, locations []Location, path []string) {
		flag(direct, "direct")
		flag(dev, "dev")
		flag(optional, "optional")
		flag(devOptional, "devOptional")
		flag(peer, "peer")
		flag(extraneous, "extraneous")
		b.WriteString(" at")
		for _, l := range locations {
			fmt.Fprintf(&b, " %s:%d", l.Path, l.Line)
		}
		if path != nil {
			b.WriteString(" via " + strings.Join(path, ">"))
		}
		b.WriteString("\n")
	}
	for i, q := range p.Packages {
		fmt.Fprintf(&b, "%s@%s", q.Name, q.Version)
		flag(q.Alias != "", "alias="+q.Alias)
		flag(q.Integrity == "", "no-integrity")
		if q.Resolved != "https://registry.npmjs.org/"+q.Name+"/-/"+q.Name[strings.LastIndexByte(q.Name, '/')+1:]+"-"+q.Version+".tgz" {
			b.WriteString(" resolved=" + q.Resolved)
		}
		flag(q.HasInstallScript, "scripts")
		flag(q.Oddity != "", "odd")
		common(q.Direct, q.Dev, q.Optional, q.DevOptional, q.Peer, q.Extraneous, q.Locations, p.Path(i))
	}
	for i, o := range p.Others {
		fmt.Fprintf(&b, "%s: %s@%s", o.Source, o.Name, o.Version)
		flag(o.Spec != "", "spec="+o.Spec)
		flag(o.Resolved != "", "resolved="+o.Resolved)
		flag(o.Bundler != "", "in="+o.Bundler)
		flag(o.Missing, "missing")
		flag(o.Oddity != "", "odd")
		common(o.Direct, o.Dev, o.Optional, o.DevOptional, o.Peer, o.Extraneous, o.Locations, p.OtherPath(i))
	}
	for _, w := range p.Warnings {
		mark := "warning"
		if w.Suspicious {
			mark = "suspicious"
		} else if w.Doubtful {
			mark = "doubtful"
		}
		fmt.Fprintf(&b, "%s %s at %s:%d: %s\n", mark, w.Code, w.File, w.Line, w.Message)
	}
	return b.String()
}
