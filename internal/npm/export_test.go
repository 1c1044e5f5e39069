package npm

// ExpandEnv is expandEnv for the differential test.
var ExpandEnv = expandEnv

// ParseINI returns what parseINI reads as plain values: string, bool, nil, or []string for a list.
func ParseINI(data []byte) map[string]any {
	all := make(map[string]any)
	for _, e := range parseINI(data) {
		switch e.kind {
		case iniString:
			all[e.key] = e.texts[0]
		case iniBool:
			all[e.key] = e.texts[0] == "true"
		case iniNull:
			all[e.key] = nil
		case iniList:
			list := []any{}
			for _, text := range e.texts {
				list = append(list, text)
			}
			all[e.key] = list
		}
	}
	return all
}
