"""The weights of CAM++ (3D-Speaker), which ``voice_embedding`` finds in this package."""
