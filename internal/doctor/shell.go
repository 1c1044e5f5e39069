package doctor

import (
	"maps"
	"path"
	"regexp"
	"strings"
)

// A command is one simple command of a shell script.
type command struct {
	env   map[string]string // assignments before the command
	words []string          // unquoted; variables and substitutions stay as they are written
	line  int               // from 0, in the script
	vars  map[string]string // what the script has assigned before; not to be changed
}

// Limits on one script.
const (
	maxCommands = 5000
	maxWords    = 2000
	maxNesting  = 8
	maxAssigned = 200
	maxShells   = 3 // each may double the work, since its text may hold substitutions too
)

// commands splits a script into its simple commands. It understands quotes, comments, continuation lines and
// here-documents, and takes what stands in subshells, groups and substitutions as commands of their own. It expands nothing but a command's own name ("$NPM publish" after NPM=npm). Scripts for
// PowerShell and cmd.exe come out well enough, since the tools' command lines look the same there.
// Source: POSIX.1-2017, Shell Command Language, 2.2 quoting, 2.3 token recognition, 2.7.4 here-documents.
func commands(script string) []command {
	done, _ := commandsAfter(script, nil)
	return done
}

// commandsAfter is commands for a script that runs in the shell of another, which has assigned vars. It returns
// what is assigned at its end.
func commandsAfter(script string, vars map[string]string) ([]command, map[string]string) {
	s := &scanner{text: script, vars: vars, shared: true}
	s.scan()
	return s.done, s.vars
}

var reference = regexp.MustCompile(`\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// expand puts in the values of variables that lookup knows, and leaves the others as they are written.
func expand(text string, lookup func(name string) (string, bool)) string {
	for range maxNesting {
		next := reference.ReplaceAllStringFunc(text[:min(len(text), 2048)], func(r string) string {
			if value, ok := lookup(strings.Trim(r, "${}")); ok {
				return value[:min(len(value), 256)]
			}
			return r
		})
		if next == text {
			break
		}
		text = next
	}
	return text
}

type scanner struct {
	text  string
	pos   int
	line  int
	words []string
	start int // line of the first word
	word  strings.Builder
	open  bool     // a word has begun, though it may be empty
	heres []string // delimiters of here-documents that begin at the next line
	vars  map[string]string
	// shared says that commands hold vars already, so that the next assignment needs a copy.
	shared bool
	depth  int
	done   []command
}

func (s *scanner) endWord() {
	if !s.open {
		return
	}
	if len(s.words) == 0 {
		s.start = s.line - strings.Count(s.word.String(), "\n")
	}
	if len(s.words) < maxWords {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.open = false
}

func (s *scanner) endCommand() {
	s.endWord()
	words := s.words
	s.words = nil
	c := command{line: max(s.start, 0)}
	for len(words) > 0 && keywords[words[0]] {
		words = words[1:]
	}
	for len(words) > 0 {
		name, value, ok := strings.Cut(words[0], "=")
		if !ok || !isName(name) {
			break
		}
		if c.env == nil {
			c.env = map[string]string{}
		}
		c.env[name] = value
		words = words[1:]
	}
	if len(words) > 1 && words[0] == "export" {
		for _, w := range words[1:] {
			if name, value, ok := strings.Cut(w, "="); ok && isName(name) {
				s.assign(name, value)
			}
		}
	}
	if len(words) == 0 {
		for name, value := range c.env {
			s.assign(name, value)
		}
		return
	}
	if name, ok := strings.CutPrefix(words[0], "$"); ok {
		if value, ok := s.vars[strings.Trim(name, "{}")]; ok {
			words = append([]string{path.Base(value)}, words[1:]...)
		}
	}
	c.words, c.vars = words, s.vars
	if len(s.done) < maxCommands {
		s.done = append(s.done, c)
		s.shared = true
	}
	if inner, ok := shellArgument(words); ok && s.depth < maxShells {
		s.shared = true
		nested := scanner{text: inner, depth: s.depth + 1, vars: s.vars, shared: true}
		nested.scan()
		for _, in := range nested.done[:min(len(nested.done), max(0, maxCommands-len(s.done)))] {
			in.line = c.line // where its lines are depends on how it is quoted
			s.done = append(s.done, in)
		}
	}
}

// shellArgument returns the script in a command such as sh -ec 'npm publish'.
func shellArgument(words []string) (script string, ok bool) {
	words = unwrap(words)
	if len(words) == 0 {
		return "", false
	}
	switch path.Base(words[0]) {
	case "sh", "bash", "dash", "ash", "zsh":
	default:
		return "", false
	}
	for i := 1; i+1 < len(words) && strings.HasPrefix(words[i], "-"); i++ {
		if w := words[i]; !strings.HasPrefix(w, "--") && strings.HasSuffix(w, "c") {
			return words[i+1], true
		}
		if words[i] == "-o" {
			i++
		}
	}
	return "", false
}

func (s *scanner) assign(name, value string) {
	if _, known := s.vars[name]; !known && len(s.vars) == maxAssigned {
		return
	}
	if s.shared || s.vars == nil {
		s.vars = maps.Clone(s.vars)
		if s.vars == nil {
			s.vars = map[string]string{}
		}
		s.shared = false
	}
	s.vars[name] = value
}

// keywords may stand before a command.
var keywords = map[string]bool{"if": true, "then": true, "else": true, "elif": true, "do": true, "while": true, "until": true, "!": true, "{": true, "}": true, "time": true, "&": true}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (s *scanner) scan() {
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch c {
		case '\n':
			s.endCommand()
			s.pos++
			s.line++
			s.skipHeres()
			continue
		case ' ', '\t', '\r':
			s.endWord()
		case ';', '|', '(', ')':
			s.endCommand()
		case '&':
			if s.open && strings.HasSuffix(s.word.String(), ">") { // 2>&1
				s.word.WriteByte(c)
			} else {
				s.endCommand()
			}
		case '`':
			s.endCommand()
		case '#':
			if s.open {
				s.word.WriteByte(c)
				break
			}
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
			continue
		case '\\':
			if rest := s.text[s.pos+1:]; strings.HasPrefix(rest, "\n") || strings.HasPrefix(rest, "\r\n") {
				s.endWord()
				s.pos += strings.IndexByte(rest, '\n') + 2
				s.line++
				continue
			}
			if s.pos+1 < len(s.text) {
				s.pos++
				s.put(s.text[s.pos])
			}
		case '\'':
			s.quoted('\'')
			continue
		case '"':
			s.quoted('"')
			continue
		case '$':
			s.dollar()
			continue
		case '<':
			if strings.HasPrefix(s.text[s.pos:], "<<") && !strings.HasPrefix(s.text[s.pos:], "<<<") {
				s.hereDocument()
				continue
			}
			s.put(c)
		default:
			s.put(c)
		}
		s.pos++
	}
	s.endCommand()
}

func (s *scanner) put(c byte) {
	s.open = true
	s.word.WriteByte(c)
}

// inner scans the commands inside "$(…)".
func (s *scanner) inner(text string) {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "$("), ")")
	if s.depth == maxNesting {
		return
	}
	s.shared = true
	nested := scanner{text: text, line: s.line, depth: s.depth + 1, vars: s.vars, shared: true}
	nested.scan()
	s.done = append(s.done, nested.done[:min(len(nested.done), max(0, maxCommands-len(s.done)))]...)
}

// dollar reads an expansion as part of the word: ${…}, $(…), GitHub's ${{ … }} and GitLab's $[[ … ]].
func (s *scanner) dollar() {
	rest := s.text[s.pos:]
	end := 1
	switch {
	case strings.HasPrefix(rest, "${{"):
		if i := strings.Index(near(rest), "}}"); i > 0 {
			end = i + 2
		}
	case strings.HasPrefix(rest, "${"):
		if i := strings.IndexByte(near(rest), '}'); i > 0 {
			end = i + 1
		}
	case strings.HasPrefix(rest, "$[["):
		if i := strings.Index(near(rest), "]]"); i > 0 {
			end = i + 2
		}
	case strings.HasPrefix(rest, "$("):
		end = 1 + substitution(rest[1:])
		s.inner(rest[:end])
	}
	s.open = true
	s.word.WriteString(rest[:end])
	s.line += strings.Count(rest[:end], "\n")
	s.pos += end
}

// near is as far as the end of an expansion is looked for.
func near(s string) string { return s[:min(len(s), 8192)] }

func (s *scanner) quoted(q byte) {
	s.open = true
	s.pos++
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == q:
			return
		case c == '\n':
			s.line++
		case c == '\\' && q == '"' && s.pos < len(s.text) && strings.IndexByte("\\\"$`\n", s.text[s.pos]) >= 0:
			c = s.text[s.pos]
			s.pos++
			if c == '\n' {
				s.line++
				continue
			}
		case c == '$' && q == '"' && strings.HasPrefix(s.text[s.pos:], "{{"):
			if i := strings.Index(near(s.text[s.pos:]), "}}"); i >= 0 {
				s.word.WriteByte(c)
				s.word.WriteString(s.text[s.pos : s.pos+i+2])
				s.line += strings.Count(s.text[s.pos:s.pos+i+2], "\n")
				s.pos += i + 2
				continue
			}
		case c == '$' && q == '"' && strings.HasPrefix(s.text[s.pos:], "("):
			n := substitution(s.text[s.pos:])
			s.inner(s.text[s.pos-1 : s.pos+n])
			s.word.WriteByte(c)
			s.word.WriteString(s.text[s.pos : s.pos+n])
			s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
			s.pos += n
			continue
		}
		s.word.WriteByte(c)
	}
}

// substitution returns the length of the "(…)" that text begins with, its nested quotes and parentheses included.
func substitution(text string) int {
	depth := 0
	var quote byte
	for i := range len(text) {
		switch c := text[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

func (s *scanner) hereDocument() {
	s.endWord()
	s.pos += 2
	if s.pos < len(s.text) && s.text[s.pos] == '-' {
		s.pos++
	}
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
	begin := s.pos
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n;|&<>()", s.text[s.pos]) < 0 {
		s.pos++
	}
	if d := strings.Trim(s.text[begin:s.pos], `'"\`); d != "" {
		s.heres = append(s.heres, d)
	}
}

// skipHeres skips the here-documents that begin at the current line.
func (s *scanner) skipHeres() {
	for _, delimiter := range s.heres {
		for s.pos < len(s.text) {
			line, _, more := strings.Cut(s.text[s.pos:], "\n")
			s.pos += len(line)
			if more {
				s.pos++
				s.line++
			}
			if strings.Trim(line, " \t\r") == delimiter {
				break
			}
		}
	}
	s.heres = nil
}
