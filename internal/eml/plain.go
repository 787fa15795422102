package eml

import "strings"

// plain makes text of a text/plain body: lines end in LF, and format=flowed (RFC 3676) is undone.
func plain(s string, params map[string]string) string {
	if strings.IndexByte(s, '\r') >= 0 {
		s = strings.ReplaceAll(s, "\r\n", "\n")
		s = strings.ReplaceAll(s, "\r", "\n")
	}
	if strings.EqualFold(params["format"], "flowed") {
		return unflow(s, strings.EqualFold(params["delsp"], "yes"))
	}
	return s
}

// unflow joins the lines of a paragraph (RFC 3676 section 4). A line flows into the next if it ends in a space and has
// the same quote depth; "-- ", the signature's mark, never flows.
func unflow(s string, delsp bool) string {
	var out strings.Builder
	out.Grow(len(s))
	flowing, depth := false, 0
	for line := range strings.SplitAfterSeq(s, "\n") {
		if line == "" {
			break
		}
		line, ended := strings.CutSuffix(line, "\n")
		quotes := 0
		for quotes < len(line) && line[quotes] == '>' {
			quotes++
		}
		content := strings.TrimPrefix(line[quotes:], " ") // space-stuffing
		mark := content == "-- "
		if flowing && (quotes != depth || mark) {
			out.WriteByte('\n')
			flowing = false
		}
		if !flowing && quotes > 0 {
			out.WriteString(line[:quotes])
			out.WriteByte(' ')
		}
		flowing, depth = ended && !mark && strings.HasSuffix(content, " "), quotes
		if flowing && delsp {
			content = content[:len(content)-1]
		}
		out.WriteString(content)
		if ended && !flowing {
			out.WriteByte('\n')
		}
	}
	return out.String()
}
