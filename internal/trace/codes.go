package trace

import (
	"strings"
	"unicode/utf8"
)

// texts holds every code with what it says. {name} is replaced by the argument.
//
//nolint:gochecknoglobals // a table that nothing changes
var texts = map[Code]string{
	"fetched":  "{octets} octets from {folder}",
	"read":     "read as {media_type} with {parts} parts and {defects} defects",
	"class":    "is {class}: {reason}",
	"recorded": "recorded as activity {activity_id}",
}

// Text returns what the step says.
func (s Step) Text() string {
	text, ok := texts[s.Code]
	if !ok {
		text = string(s.Code)
	}
	for name, value := range s.Args {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// Known reports whether code is in the list.
func Known(code Code) bool {
	_, ok := texts[code]
	return ok
}

// cut makes value fit an argument: valid UTF-8, no NUL, at most ArgOctets and "…".
func cut(value string) string {
	value = strings.ReplaceAll(strings.ToValidUTF8(value, "\uFFFD"), "\x00", "\uFFFD")
	if len(value) <= ArgOctets {
		return value
	}
	n := ArgOctets
	for !utf8.RuneStart(value[n]) {
		n--
	}
	return value[:n] + "…"
}
