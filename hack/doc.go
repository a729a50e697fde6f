// Package hack holds what keeps the project itself in order: the set-up script, the demo and the test of forbidden imports.
package hack
