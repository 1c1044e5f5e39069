package npm

import "strings"

// expandEnv replaces ${NAME} and ${NAME?} by the environment's values, as npm does in the keys and values
// of its configuration. A name that is not set stays as it is written, or becomes nothing with "?". Of n
// backslashes before "${" half are kept; an odd one keeps the expression from being replaced.
//
// names lists the variables asked for, unset those of them that are not set and have no "?".
// Source: @npmcli/config, env-replace.
func expandEnv(s string, env func(string) (string, bool)) (expanded string, names, unset []string) {
	if !strings.Contains(s, "${") {
		return s, nil, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && s[j] == '\\' {
			j++
		}
		backslashes := j - i
		name, optional, length := envExpression(s[j:])
		switch {
		case length == 0 && backslashes == 0:
			b.WriteByte(s[i])
			i++
		case length == 0:
			b.WriteString(s[i:j])
			i = j
		case backslashes%2 == 1:
			b.WriteString(s[i+(backslashes+1)/2 : j+length])
			i = j + length
		default:
			b.WriteString(s[i : i+backslashes/2])
			names = append(names, name)
			value, ok := env(name)
			switch {
			case ok:
				b.WriteString(value)
			case !optional:
				b.WriteString("${" + name + "}")
				unset = append(unset, name)
			}
			i = j + length
		}
		if b.Len() > maxConfigLength {
			return "", names, unset // a file of nothing but ${PATH} grows without end
		}
	}
	return b.String(), names, unset
}

// envExpression reads ${NAME} or ${NAME?} at the start of s and returns its length, 0 if there is none.
func envExpression(s string) (name string, optional bool, length int) {
	rest, ok := strings.CutPrefix(s, "${")
	if !ok {
		return "", false, 0
	}
	end := strings.IndexAny(rest, "${}?")
	if end <= 0 {
		return "", false, 0
	}
	name, rest = rest[:end], rest[end:]
	rest, optional = strings.CutPrefix(rest, "?")
	if !strings.HasPrefix(rest, "}") {
		return "", false, 0
	}
	return name, optional, len(s) - len(rest) + 1
}
