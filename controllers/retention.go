package controllers

import v1 "clusterbackup/api/v1"

// RetentionOf is a source's retention with nothing left open; of a source that is gone (nil), the default one.
func RetentionOf(source *v1.Source) v1.Retention {
	if source == nil {
		source = &v1.Source{}
	} else {
		source = source.DeepCopy()
	}
	v1.Default(source, nil)
	return *source.Spec.Retention
}
