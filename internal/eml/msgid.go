package eml

import "strings"

// maxIDs bounds the identifiers that are kept of a References field: the last ones, which are the nearest.
const maxIDs = 1000

// MessageIDs returns the message identifiers of a Message-ID, In-Reply-To or References value (RFC 5322 section 3.6.4)
// without their angle brackets, in their order, each once. Where there are none in brackets, words stand for them: all
// that hold an "@", or a word that stands alone. At most 1000, the last, are returned.
func MessageIDs(value string) []string {
	ids := bracketedIDs(value)
	if len(ids) == 0 {
		ids = bareIDs(value)
	}
	seen := make(map[string]bool, min(len(ids), maxIDs))
	unique := ids[:0]
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	if len(unique) > maxIDs {
		unique = unique[len(unique)-maxIDs:]
	}
	return unique
}

// bracketedIDs returns what stands in angle brackets.
func bracketedIDs(value string) []string {
	var ids []string
	for {
		_, rest, found := strings.Cut(value, "<")
		if !found {
			return ids
		}
		id, after, closed := strings.Cut(rest, ">")
		if !closed {
			return ids
		}
		if i := strings.LastIndexByte(id, '<'); i >= 0 {
			id = id[i+1:]
		}
		if id = cleanID(id); id != "" {
			ids = append(ids, id)
		}
		value = after
	}
}

// bareIDs returns the words that are identifiers without angle brackets.
func bareIDs(value string) []string {
	words := strings.FieldsFunc(value, func(c rune) bool {
		return c == ' ' || c == '\t' || c == ',' || c == ';' || c == '<' || c == '>' || c == '\r' || c == '\n'
	})
	if len(words) == 1 {
		return []string{sanitise(words[0])}
	}
	var ids []string
	for _, word := range words {
		if strings.IndexByte(word, '@') > 0 {
			ids = append(ids, sanitise(word))
		}
	}
	return ids
}

// cleanID drops white space, which folding leaves in long identifiers, and makes id fit for a text column.
func cleanID(id string) string {
	if strings.ContainsAny(id, " \t\r\n") {
		id = strings.Join(strings.Fields(id), "")
	}
	return sanitise(id)
}

// messageID returns the identifier of a Message-ID value: one without "@" or without angle brackets is still one.
func messageID(value string) string {
	if ids := bracketedIDs(value); len(ids) > 0 {
		return ids[0]
	}
	fields := strings.Fields(value)
	if len(fields) == 0 {
		return ""
	}
	return sanitise(strings.Trim(fields[0], "<>"))
}

// bracketed returns value without the angle brackets and blanks around it, as Content-ID has them.
func bracketed(value string) string {
	if value == "" {
		return ""
	}
	return messageID(value)
}
