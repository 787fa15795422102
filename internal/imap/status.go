package imap

import (
	"slices"
	"strings"
)

// status is a status response (RFC 3501 section 7.1): its code's name in capitals, and its words made fit for an error.
type status struct {
	code string
	args string
	text string
}

func isStatus(kind string) bool {
	return slices.Contains([]string{"OK", "NO", "BAD", "BYE", "PREAUTH"}, kind)
}

// status reads what comes after OK, NO and the like. A code that does not end is taken for text, and a code that may be a
// secret is dropped.
func (f *filter) status(rest string) status {
	rest = strings.TrimSpace(rest)
	var st status
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		if code, text, ok := strings.Cut(inner, "]"); ok {
			name, args, _ := strings.Cut(code, " ")
			if name = strings.ToUpper(name); isAtom(name) && (isKnown(name) || f.secrets.hide(name) == name) {
				st.code, st.args = name, strings.TrimSpace(args)
			}
			rest = text
		}
	}
	st.text = f.secrets.shown(rest)
	return st
}

// untaggedStatus notes what a server tells on its own, and hands out the greeting and what EXAMINE is answered with.
func (f *filter) untaggedStatus(kind, rest string) {
	st := f.status(rest)
	f.note(func(s *seen) {
		switch {
		case kind == "BYE":
			s.bye = &st
		case kind == "PREAUTH" && !f.begun:
			s.preauth = true
		case kind == "NO" || kind == "BAD" || st.code == "ALERT":
			s.warning = st.text
		}
	})
	code := f.usefulCode(st)
	if !f.begun || code != "" || kind == "BYE" {
		f.begun = true
		f.emitStatus("* "+kind, code, st.text)
	}
}

// isKnown reports whether something follows from a response code.
func isKnown(code string) bool {
	return meaningOf(code).code != "refused" || slices.Contains([]string{"ALERT", "CAPABILITY", "UIDNEXT", "UIDVALIDITY"}, code)
}

// usefulCode returns the code, with brackets, if the client needs it and it is well-formed.
func (f *filter) usefulCode(st status) string {
	switch st.code {
	case "CAPABILITY":
		if caps := f.capabilities(st.args); caps != "" {
			return "[CAPABILITY " + caps + "]"
		}
	case "UIDNEXT", "UIDVALIDITY":
		if n, ok := number32(st.args); ok && n > 0 {
			return "[" + st.code + " " + st.args + "]"
		}
	}
	return ""
}

// tagged hands out the end of a command. Of its code there remain the capabilities after a log-in and the name of one
// that says why not: COPYUID and the like are not needed, and servers have got them wrong.
func (f *filter) tagged(seg []byte) error {
	tag, rest := cutWord(seg)
	kind, rest := cutWord(rest)
	k := strings.ToUpper(string(kind))
	if !isStatus(k) || !isAtom(string(tag)) {
		return errLine
	}
	st := f.status(string(rest))
	code := f.usefulCode(st)
	if k == "OK" && st.code == "ALERT" {
		f.note(func(s *seen) { s.warning = st.text })
	}
	if k != "OK" && st.code != "" {
		code = "[" + st.code + "]"
	}
	f.emitStatus(string(tag)+" "+k, code, st.text)
	return nil
}

func (f *filter) emitStatus(start, code, text string) {
	f.emit(start)
	if code != "" {
		f.emit(" ", code)
	}
	if strings.HasPrefix(text, "[") {
		text = strings.TrimLeft(text, "[") // not a code any more
	}
	if text != "" {
		f.emit(" ", text)
	}
	f.emit("\r\n")
}

// capabilities returns the well-formed ones, "" when they are final or there are none.
//
// QUIRK: a server that offers IMAP4rev1 and IMAP4rev2 is in rev1 until rev2 is enabled (RFC 9051 section 7.2.2), where
// folder names are in modified UTF-7. The client library would write them in UTF-8.
func (f *filter) capabilities(args string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen {
		return ""
	}
	caps := slices.DeleteFunc(strings.Fields(args), func(c string) bool { return !isAtom(c) })
	has := func(name string) bool {
		return slices.ContainsFunc(caps, func(c string) bool { return strings.EqualFold(c, name) })
	}
	if has("IMAP4rev1") && has("IMAP4rev2") {
		caps = slices.DeleteFunc(caps, func(c string) bool { return strings.EqualFold(c, "IMAP4rev2") })
	}
	return strings.Join(caps, " ")
}
