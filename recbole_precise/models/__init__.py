"""Models as RecBole knows them: thin files that wire parts together and name their phases."""
