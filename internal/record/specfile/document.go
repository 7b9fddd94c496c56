package specfile

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// syntax is how the YAML library says where; its text is shown, not branched on.
var syntax = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

// offByOne are the messages of the library's parser, which counts lines from 0; its scanner counts from 1 (seen in yaml.v3 v3.0.6).
var offByOne = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or '[]}]'|<document start>)$`)

// document is the only document in the bytes. It has a root.
func document(b []byte) (*yaml.Node, *Problem) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && empty(&doc) {
		return nil, &Problem{Line: 1, Column: 1, Message: "the file is empty", Hint: "leastkey init writes one"}
	}
	if err != nil {
		return nil, syntaxProblem(err)
	}
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
		return &doc, nil
	case err != nil:
		return nil, syntaxProblem(err)
	}
	return nil, &Problem{Line: second.Line, Column: second.Column, Message: "a second YAML document begins here", Hint: "keep one, without ---"}
}

func empty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0].Tag == "!!null"
}

func syntaxProblem(err error) *Problem {
	m := syntax.FindStringSubmatch(err.Error())
	if m == nil {
		return &Problem{Message: "not YAML: " + err.Error()}
	}
	line, _ := strconv.Atoi(m[1]) // "" is 0: unknown
	if offByOne.MatchString(m[2]) {
		line++
	}
	return &Problem{Line: line, Message: "not YAML: " + m[2]}
}
