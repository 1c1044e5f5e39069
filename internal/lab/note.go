package lab

import (
	"encoding/base64"
	"fmt"
)

// checkpointText is the signed part of a checkpoint (C2SP tlog-checkpoint): origin, size, root.
func checkpointText(origin string, size int64, root [32]byte) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// noteLine is one signature line of a signed note (C2SP signed-note).
func noteLine(name string, hint, sig []byte) string {
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(append(hint[:4:4], sig...)))
}
