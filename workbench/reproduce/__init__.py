"""The paper's claims, tried at this scale: studies whose rows reach results/ one by one, resumable over days."""
