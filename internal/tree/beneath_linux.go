package tree

func linkRefused(error) bool { return false }
