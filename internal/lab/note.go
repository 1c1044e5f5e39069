package lab

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// checkpointText is the signed part of a checkpoint (C2SP tlog-checkpoint): origin, size, root.
func checkpointText(origin string, size int64, root [32]byte) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// noteLine is one signature line of a signed note (C2SP signed-note).
func noteLine(name string, hint, sig []byte) string {
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(append(hint[:4:4], sig...)))
}

// Cosignature is a signature line, without line end, that some witness might add to a checkpoint. No one knows its key.
func (l *Lab) Cosignature(witness string) string {
	b := l.derive("witness " + witness)
	return strings.TrimSuffix(noteLine("witness.lab.assay.test/"+witness, b[:4], append(b, b...)[:72]), "\n")
}
